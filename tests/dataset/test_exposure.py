"""Blur from neighbouring frames."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fmanet_cli.dataset.exposure import FrameGap, average_in_linear_light, blur_clip, sub_frame_offsets
from fmanet_cli.evaluation.metrics import psnr


def flat(value: int) -> np.ndarray:
    return np.full((64, 64, 3), value, np.uint8)


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    noise = np.random.default_rng(4).integers(0, 256, (160, 200, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return cv2.normalize(soft, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def test_the_mean_is_taken_in_linear_light():
    assert average_in_linear_light([flat(0), flat(255)])[0, 0].tolist() == [188, 188, 188]
    assert average_in_linear_light([flat(10), flat(10)])[0, 0].tolist() == [10, 10, 10]
    assert all(average_in_linear_light([flat(value)])[0, 0, 0] == value for value in range(256))


def test_frames_between_two_frames_follow_the_motion(texture):
    before, after, halfway = (np.roll(texture, shift, axis=1) for shift in (0, 8, 4))
    gap = FrameGap(before, after)
    inside = np.s_[16:-16, 24:-24]
    assert gap.motion_pixels == pytest.approx(8, abs=1)
    assert psnr(gap.at(0.5)[inside], halfway[inside]) > 32
    crossfade = ((before.astype(int) + after) // 2).astype(np.uint8)
    assert psnr(crossfade[inside], halfway[inside]) < 22
    assert gap.at(0) is before
    assert gap.at(1) is after


def test_frames_that_hardly_move_are_cross_faded():
    assert FrameGap(flat(40), flat(80)).at(0.25)[0, 0].tolist() == [50, 50, 50]


def test_the_truth_is_the_middle_and_every_neighbour_is_needed():
    frames = [flat(10 * index) for index in range(8)]
    assert [int(truth[0, 0, 0]) for _, truth in blur_clip(frames)] == [10, 20, 30, 40, 50, 60]
    assert [int(truth[0, 0, 0]) for _, truth in blur_clip(frames, stride=2)] == [10, 30, 50]
    assert [int(truth[0, 0, 0]) for _, truth in blur_clip(frames, stride=3, exposure=1)] == [20, 50]
    assert list(blur_clip(frames[:2])) == []


def test_a_moving_edge_is_smeared_as_far_as_the_exposure_lasts(texture):
    frames = [np.roll(texture, 8 * index, axis=1) for index in range(3)]
    ((blurred, truth),) = blur_clip(frames, exposure=0.75)
    assert truth is frames[1]
    expected = average_in_linear_light(np.roll(frames[1], shift, axis=1) for shift in range(-3, 4))
    inside = np.s_[16:-16, 32:-32]
    assert psnr(blurred[inside], expected[inside]) > 40
    assert psnr(blurred[inside], truth[inside]) < 32


def test_without_exposure_nothing_is_blurred():
    frames = [flat(10), flat(200)]
    assert all(blurred is truth for blurred, truth in blur_clip(frames, exposure=0))


def test_frames_are_taken_as_they_are_needed():
    taken = []

    def source():
        for index in range(100):
            taken.append(index)
            yield flat(index)

    pairs = blur_clip(source(), stride=2, exposure=0.5)
    next(pairs)
    assert taken == [0, 1, 2]
    next(pairs)
    assert taken == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("motion", "count"), [(0, 9), (16, 9), (30, 17), (31, 17), (1000, 33)])
def test_more_sub_frames_for_more_motion(motion, count):
    offsets = sub_frame_offsets(0.4, motion_pixels=motion)
    assert len(offsets) == count
    assert (offsets[0], offsets[count // 2], offsets[-1]) == pytest.approx((-0.4, 0, 0.4))
