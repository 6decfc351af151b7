"""Photographs filmed by a camera."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fmanet_cli.dataset.camera import CameraPath, draw_camera_path, film_photograph, view_size
from fmanet_cli.dataset.exposure import average_in_linear_light

STRAIGHT = CameraPath(
    start_speed=4, end_speed=4, heading=0, turn=0, roll=0, zoom=0, shake_pixels=(0, 0), shake_cycles=(0.1, 0.1)
)


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    return np.random.default_rng(6).integers(0, 256, (96, 120, 3)).astype(np.uint8)


def film(photograph: np.ndarray, path: CameraPath, exposure: float = 0.0) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(film_photograph(photograph, path, frame_count=3, view_size=(48, 64), exposure=exposure))


def test_a_straight_path_cuts_shifted_views(photograph):
    truths = [truth for _, truth in film(photograph, STRAIGHT)]
    for truth, left in zip(truths, (24, 28, 32), strict=True):
        assert np.array_equal(truth, photograph[24:72, left : left + 64])


def test_the_blur_is_the_mean_of_the_views_during_the_exposure(photograph):
    blurred, _ = film(photograph, replace(STRAIGHT, start_speed=8, end_speed=8), exposure=1.0)[1]
    views = [photograph[24:72, 28 + shift : 92 + shift] for shift in range(-4, 5)]
    assert np.array_equal(blurred, average_in_linear_light(views))


def test_zoom_and_roll_keep_the_middle_of_the_clip(photograph):
    turning = replace(STRAIGHT, roll=0.05, zoom=0.1)
    first, middle, _ = (truth for _, truth in film(photograph, turning))
    assert np.array_equal(middle, photograph[24:72, 28:92])
    assert not np.array_equal(first, photograph[24:72, 24:88])


def test_paths_depend_on_name_and_seed_alone():
    assert draw_camera_path("lane", seed=3) == draw_camera_path("lane", seed=3)
    assert draw_camera_path("lane", seed=3) != draw_camera_path("lane", seed=4)
    assert draw_camera_path("lane", seed=3) != draw_camera_path("tower", seed=3)


def test_drawn_speeds_span_their_range():
    speeds = sorted(draw_camera_path("lane", seed=seed).start_speed for seed in range(200))
    assert 0.5 <= speeds[0] < 0.6
    assert speeds[100] == pytest.approx(4.5, rel=0.3)
    assert 36 < speeds[-1] <= 40


def test_the_view_leaves_room_to_move():
    photograph = np.zeros((1200, 1600, 3), np.uint8)
    assert view_size(photograph) == (720, 960)
    assert view_size(photograph, limit=482) == (480, 480)
