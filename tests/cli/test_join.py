"""`fmanet restore --part` and `fmanet join` as a user types them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.weights.checkpoint import CheckpointMetadata, save_checkpoint
from support.command_line import fmanet

MakeClip = Callable[..., Path]


def test_parts_and_join(
    make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "tiny.safetensors"
    save_checkpoint(weights, tiny_model, metadata=CheckpointMetadata(licence="MIT", source="random, for tests"))
    make_clip(count=7)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FMANET_RESTORE_SEGMENT_FRAMES", "2")
    words = "restore", "clip.mp4", "-o", "sharp.mp4", "-n", weights
    first = fmanet(*words, "--part", "1/2")
    assert first.exit_code == 0, first.output
    assert first.stderr.splitlines()[-1].startswith("part 1/2 is done: 4 frames, 0:0")
    assert first.stderr.endswith("after all parts: fmanet join sharp.mp4\n")
    early = fmanet("join", "sharp.mp4")
    assert early.exit_code == 2
    assert early.stderr == "error: part 2 of 2 of sharp.mp4 missing; restore them first (--part 2/2)\n"
    monkeypatch.setenv("FMANET_RESTORE_PART", "2/2")
    assert fmanet(*words, "-q").stderr == ""
    joined = fmanet("join", "sharp.mp4")
    assert joined.exit_code == 0, joined.output
    assert "7 at 32x24 to 128x96" in joined.stderr
    assert "128x96, joined from 2 parts" in joined.stderr
    assert "frames/s" not in joined.stderr
    assert "things compared with the source" in joined.stderr
    again = fmanet("join", "sharp.mp4")
    assert again.exit_code == 2
    assert "sharp.mp4 is there already, and no part of it is left" in again.stderr
    assert fmanet("verify", "clip.mp4", "sharp.mp4").exit_code == 0


@pytest.mark.parametrize("more", [["--report", "r.json"], ["--progress", "json"], ["b.mp4"]])
def test_what_does_not_go_with_a_part(make_clip: MakeClip, tmp_path: Path, more: list[str]) -> None:
    for name in ("a.mp4", "b.mp4"):
        make_clip(name, count=1)
    words = [tmp_path / more[0]] if more[0] == "b.mp4" else more
    result = fmanet("restore", tmp_path / "a.mp4", "-o", tmp_path / "out/", "--part", "1/2", *words)
    assert result.exit_code == 2
    assert "--part" in result.stderr
