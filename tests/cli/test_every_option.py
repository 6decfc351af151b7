"""No value of any option of any command gives a traceback, a hang, an undocumented exit code or a steered terminal."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.weights.checkpoint import CheckpointMetadata, save_checkpoint
from support.option_fuzz import Case, every_case, every_command, run

SAMPLE = 40

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="a hang is ended by an alarm")


@pytest.fixture
def files(make_clip, tmp_path: Path, tiny_model: FMANet) -> Path:
    """What the command lines are about."""
    make_clip("files/clip.mp4", count=2, height=16, width=16)
    make_clip("files/in/a.mp4", count=1, height=16, width=16)
    (tmp_path / "files/empty").mkdir()
    save_checkpoint(
        tmp_path / "files/tiny.safetensors", tiny_model, metadata=CheckpointMetadata(licence="MIT", source="random")
    )
    return tmp_path / "files"


def wrong(cases: list[Case], tmp_path: Path, files: Path) -> dict[str, list[str]]:
    found = {str(case): run(case, tmp_path / "case", files) for case in cases}
    return {case: faults for case, faults in found.items() if faults}


def test_every_option_is_met() -> None:
    cases = every_case()
    assert {case.path for case in cases} == {path for path, _ in every_command()}
    assert len(cases) > 2000


def test_a_sample(tmp_path: Path, files: Path) -> None:
    quick = [case for case in every_case() if case.path[0] != "bench"]
    assert wrong(random.Random(12).sample(quick, SAMPLE), tmp_path, files) == {}


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted({case.path for case in every_case()}), ids=" ".join)
def test_every_value(path: tuple[str, ...], tmp_path: Path, files: Path) -> None:
    assert wrong([case for case in every_case() if case.path == path], tmp_path, files) == {}
