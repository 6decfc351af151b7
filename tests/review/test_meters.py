"""The meters rise with what they measure, and with nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from fmanet_cli.dataset.imaging.coding import Coding
from fmanet_cli.review.meters import measure_image
from fmanet_cli.video.read.images import read_image
from support.dead_leaves import dead_leaves, grained, line_of_blur
from support.draw_meters import meters_of, noisy


@pytest.fixture(params=[1, 2])
def sharp(request: pytest.FixtureRequest) -> np.ndarray:
    return dead_leaves(192, 320, seed=request.param)


def rises(values: list[float]) -> bool:
    return all(later > earlier for earlier, later in pairwise(values))


@pytest.mark.parametrize("degrees", [0, 90, 45])
def test_blur_tells_the_length_and_direction_of_a_line(sharp: np.ndarray, degrees: int) -> None:
    meters = [meters_of(line_of_blur(sharp, length, degrees)) for length in (0, 2, 4, 8, 16)]
    assert rises([found.blur for found in meters])
    assert meters[0].blur < 2.2
    for found, length in zip(meters[2:], (4, 8, 16), strict=True):
        assert found.blur == pytest.approx(length, rel=0.4)
        assert found.angle == degrees
        assert found.blur > 1.4 * found.blur_across


def test_out_of_focus_is_as_wide_across(sharp: np.ndarray) -> None:
    meters = [meters_of(cv2.GaussianBlur(sharp, (0, 0), sigma)) for sigma in (0.7, 1, 1.5, 2, 3)]
    assert rises([found.blur for found in meters])
    assert all(found.blur < 1.35 * found.blur_across for found in meters)


def test_noise_is_told_and_does_not_pass_for_sharpness(sharp: np.ndarray) -> None:
    levels = (0, 2, 4, 8, 16)
    for image in (sharp, line_of_blur(sharp, 8, 0)):
        meters = [meters_of(noisy(image, sigma)) for sigma in levels]
        assert rises([found.noise for found in meters])
        assert [found.noise for found in meters[3:]] == pytest.approx(levels[3:], rel=0.3)
        assert [found.blur for found in meters[:3]] == pytest.approx([meters[0].blur] * 3, rel=0.15)


def test_blockiness_rises_with_crf(sharp: np.ndarray) -> None:
    film = grained(sharp)
    frames = [np.ascontiguousarray(film[step : step + 176, 2 * step : 2 * step + 304]) for step in range(5)]
    plain = [meters_of(image).blockiness for image in (frames[4], line_of_blur(frames[4], 8, 0))]
    # The last is predicted from one side: it keeps the grid.
    coded = [meters_of(Coding(quality=crf).code(frames)[4]).blockiness for crf in (18, 23, 28, 33)]
    assert rises([max(plain), *coded])
    assert max(plain) < 0.02
    assert coded[-1] > 0.1


def test_smooth_drawings_are_not_blocky() -> None:
    drawing = np.full((160, 240, 3), 0.9, np.float32)
    cv2.circle(drawing, (90, 70), 50, (0.2, 0.4, 0.8), -1, cv2.LINE_AA)
    cv2.line(drawing, (0, 150), (239, 11), (0.1, 0.1, 0.1), 3, cv2.LINE_AA)
    assert meters_of(drawing).blockiness < 0.02


def test_what_says_nothing() -> None:
    assert measure_image(np.zeros((31, 64, 3), np.float32)) is None
    black = meters_of(np.zeros((64, 64, 3), np.float32))
    assert not black.tells_blur
    assert np.isfinite([black.blur, black.noise, black.blockiness]).all()
    assert meters_of(dead_leaves(64, 64)).tells_blur


def test_the_curves_can_be_drawn(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "support/draw_meters.py"
    photograph = Path(__file__).parents[2] / "examples/before-after.png"
    command = [sys.executable, script, tmp_path / "meters.png", photograph]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert read_image(tmp_path / "meters.png").shape[1] > 1200
    blur = [float(word) for word in re.findall(r": ([\d.]+)", lines[0])]
    assert blur == sorted(blur)
