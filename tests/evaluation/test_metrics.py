"""The metrics against the authors' figures and against hand computations."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from fmanet_cli.dataset.byte_images import quantize
from fmanet_cli.errors import EvaluationError
from fmanet_cli.evaluation.metrics import (
    FlowTrack,
    colour_shift,
    flow_difference,
    flow_warped_change,
    overshoot_share,
    psnr,
    ssim,
)
from fmanet_cli.video.read.images import read_image

GOLDEN = Path(__file__).parent / "golden"


def flat(value: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_agrees_with_the_figures_of_the_authors_script():
    expected = json.loads((GOLDEN / "expected.json").read_text())
    tracks = FlowTrack(), FlowTrack()
    for index in range(4):
        restored, truth = (quantize(read_image(GOLDEN / side / "seq" / f"{index:08d}.png")) for side in ("out", "gt"))
        flows = tracks[0].step(restored), tracks[1].step(truth)
        assert psnr(restored, truth) == pytest.approx(expected["rgb_psnr"][index], abs=1e-3)
        assert ssim(restored, truth) == pytest.approx(expected["ssim"][index], abs=1e-5)
        if index:
            assert flow_difference(*flows) == pytest.approx(expected["tOF"][index - 1], abs=1e-4)
        else:
            assert flows == (None, None)


def test_psnr_by_hand():
    assert psnr(flat(100), flat(116)) == pytest.approx(20 * math.log10(255 / 16))
    one_channel = flat(100)
    one_channel[..., 1] += 16
    assert psnr(one_channel, flat(100)) == pytest.approx(10 * math.log10(255**2 / (256 / 3)))
    assert psnr(flat(3), flat(3)) == math.inf


def test_four_pixels_at_each_side_do_not_count():
    framed = flat(0, 40, 44)
    framed[4:-4, 4:-4] = 90
    assert psnr(framed, flat(90, 40, 44)) == math.inf
    assert ssim(framed, flat(90, 40, 44)) == pytest.approx(1)
    assert psnr(framed, flat(90, 40, 44), border=3) < 40


def test_ssim_of_one_window_by_hand():
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 256, (2, 19, 19, 3)).astype(np.float64)
    line = [math.exp(-(offset**2) / (2 * 1.5**2)) for offset in range(-5, 6)]
    weights = np.outer(line, line) / sum(line) ** 2
    likeness = []
    for channel in range(3):
        x, y = a[4:-4, 4:-4, channel], b[4:-4, 4:-4, channel]
        mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
        spread_x, spread_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
        together = (weights * (x - mean_x) * (y - mean_y)).sum()
        c1, c2 = 2.55**2, 7.65**2
        likeness.append(
            (2 * mean_x * mean_y + c1) * (2 * together + c2) / (mean_x**2 + mean_y**2 + c1) / (spread_x + spread_y + c2)
        )
    assert ssim(a.astype(np.uint8), b.astype(np.uint8)) == pytest.approx(sum(likeness) / 3, abs=1e-12)


def test_flow_counts_only_in_the_papers_region():
    flow, still = np.full((720, 1280, 2), 9, np.float32), np.zeros((720, 1280, 2), np.float32)
    flow[8:712, 16:1264] = (3, 4)
    assert flow_difference(flow, still) == pytest.approx(5)
    flow[8, 16] = (3 + 704 * 1248, 4)
    assert flow_difference(flow, still) == pytest.approx(6, abs=1e-3)


@pytest.mark.parametrize(("side", "is_defined"), [(47, False), (48, True)])
def test_flow_of_tiny_frames_is_not_defined(side, is_defined):
    flow = np.zeros((side, 100, 2), np.float32)
    assert flow_difference(flow, flow) == (0 if is_defined else None)


def test_flow_track_measures_motion_in_pixels():
    noise = np.random.default_rng(1).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    track = FlowTrack()
    track.step(texture)
    flow = track.step(np.roll(texture, (0, 2), axis=(0, 1)))
    assert np.median(flow[20:-20, 20:-20], axis=(0, 1)) == pytest.approx([2, 0], abs=0.1)


def test_colour_shift_is_red_green_blue_in_code_values():
    restored = flat(100)
    restored[..., 0] += 3
    restored[:12, :, 2] -= 1
    assert colour_shift(restored, flat(100)) == (3, 0, -0.5)


def test_quantize_rounds_and_clips():
    image = np.array([[[-0.2, 0.5, 1.3], [1 / 255, 1.4 / 255, 1.6 / 255]]], np.float32)
    assert quantize(image).tolist() == [[[0, 128, 255], [1, 1, 2]]]


def test_frames_that_cannot_be_compared():
    with pytest.raises(EvaluationError, match="frames of different size cannot be compared: 32x24 against 36x24"):
        psnr(flat(0), flat(0, 24, 36))
    with pytest.raises(EvaluationError, match="32x18 is too small to compare: a side must have 19 pixels"):
        ssim(flat(0, 18), flat(0, 18))


def test_overshoot_counts_what_leaves_the_truth_around_it():
    truth = np.full((20, 20, 3), 100, np.uint8)
    truth[:, 10:] = 140
    assert overshoot_share(truth, truth) == 0
    halo = truth.copy()
    halo[:, 10] = 145
    halo[:, 9] = 96
    assert overshoot_share(halo, truth) == pytest.approx(1 / 20)


def test_change_along_the_flow_is_none_where_an_image_only_moves():
    scene = np.random.default_rng(3).integers(0, 256, (32, 40, 3)).astype(np.uint8)
    before, after = scene[:, :32], scene[:, 2:34]
    flow = np.zeros((32, 32, 2), np.float32)
    flow[..., 0] = -2
    inner = (slice(None), slice(4, None))
    assert flow_warped_change(before[inner], after[inner], flow[:, 4:]) < 30
    assert flow_warped_change(before, before, np.zeros_like(flow)) == 0
    brighter = before.astype(int) // 2 + 20
    assert flow_warped_change((brighter - 3).astype(np.uint8), brighter.astype(np.uint8), np.zeros_like(flow)) == 3
