"""Every block of the tutorial runs, most on clips as small as can be: what is tested is the page."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from fmanet_cli.cli.main import main
from fmanet_cli.dataset.reds import BLURRY_FOLDER, REDS4_CLIPS, SHARP_FOLDER
from fmanet_cli.evaluation.reds4 import PUBLISHED

EXAMPLES = Path(__file__).parent.parent / "examples"
PAGE = (EXAMPLES / "tutorial.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^## \d\. ", PAGE, flags=re.MULTILINE)


def follow(page: str, names: dict[str, Any]) -> str:
    """Run a part of the page; what it prints."""
    said = []
    for kind, block in re.findall(r"```(sh|python)\n(.*?)```", page, flags=re.DOTALL):
        if kind == "sh":
            for line in block.splitlines():
                program, *words = shlex.split(line)
                assert program == "fmanet"
                result = CliRunner().invoke(main, words)
                assert result.exit_code == 0, f"{line}\n{result.output}"
                said.append(result.output)
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(block, names)
        for expected in re.findall(r"print\(.*\)  # (.*)", block):
            assert expected in printed.getvalue().splitlines(), block
    return "".join(said)


@pytest.fixture
def beginning(make_clip, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    make_clip("street.mp4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_restore_look_inside_frames_and_a_folder(beginning: Path) -> None:
    said = follow("".join(SECTIONS[1:6]), {})
    assert "5 done" in said or "2 done" in said, said
    made = {path.relative_to(beginning).as_posix() for path in beginning.rglob("*.*")}
    assert {
        "street_preview.png",
        "sharp_compared.html",
        "sheet.png",
        "inside.png",
        "restored/one.mp4",
        "restored/more/two.mp4",
    } <= made


@pytest.mark.slow
def test_weights_of_your_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(EXAMPLES / "street.mp4", "street.mp4")
    follow(SECTIONS[4] + SECTIONS[6], {"np": np, "Path": Path})
    assert Path("mine.mp4").exists()


def test_reds4_from_its_layout_to_the_table(write_frames, beginning: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3))
    for name in REDS4_CLIPS:
        write_frames(f"REDS/{SHARP_FOLDER}/{name}", noise)
        write_frames(f"REDS/{BLURRY_FOLDER}/{name}", noise[:, ::4, ::4])
    said = follow(SECTIONS[7], {})
    assert "FMA-Net, published" in said
    assert Path("reds4.json").exists()


def test_quoted_figures_are_the_papers() -> None:
    for row in PUBLISHED:
        if row.method.startswith("FMA-Net"):
            assert f"| {row.method} | {row.mean.psnr} / {row.mean.ssim} / {row.mean.tof} | quoted" in PAGE
