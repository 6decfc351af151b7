"""The example scripts run as their first lines say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fmanet_cli.video.read.images import read_image
from fmanet_cli.video.read.reader import VideoReader

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *words: object) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_frames_without_files() -> None:
    lines = run("restore_frames.py").splitlines()
    assert len(lines) == 5
    assert lines[-1] == "frame at 0.16 s is now 192x128"


def test_clip_restored_and_compared(make_clip, tmp_path: Path) -> None:
    clip, sharp = make_clip(), tmp_path / "sharp.mp4"
    assert run("restore_a_video.py", clip, sharp).startswith("5 frames in ")
    run("compare_a_frame.py", clip, sharp, 3, tmp_path / "both.png")
    assert read_image(tmp_path / "both.png").shape == (96, 256, 3)
    run("compare_a_frame.py", clip, sharp, 3, tmp_path / "area.png", 30, 0, 80, 40)
    assert read_image(tmp_path / "area.png").shape == (40, 160, 3)


def test_the_clip_can_be_made_again(tmp_path: Path) -> None:
    run("compare_a_frame.py", EXAMPLES / "street.mp4", EXAMPLES / "street.mp4", 0, tmp_path / "photograph.png")
    run("make_street_clip.py", tmp_path / "photograph.png", tmp_path / "clip.mp4")
    with VideoReader(tmp_path / "clip.mp4") as reader:
        assert sum(1 for _ in reader) == 24


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.mp4")), ids=lambda path: path.name)
def test_example_clips_are_small(path: Path) -> None:
    assert path.stat().st_size < 1_000_000
