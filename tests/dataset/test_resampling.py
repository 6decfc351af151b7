"""Bicubic resampling against the kernel computed tap by tap."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fmanet_cli.dataset.byte_images import quantize
from fmanet_cli.dataset.resampling import crop_centre, enlarge, enlarge_batch, shrink
from fmanet_cli.errors import EvaluationError


def cubic(distance: float, a: float) -> float:
    x = abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0


def mirrored(index: int, length: int) -> int:
    return -1 - index if index < 0 else 2 * length - 1 - index if index >= length else index


def shrunk_slowly(image: np.ndarray, row: int, column: int) -> np.ndarray:
    total, weight_total = np.zeros(3), 0.0
    for y in range(4 * row - 6, 4 * row + 10):
        for x in range(4 * column - 6, 4 * column + 10):
            weight = cubic((y - 4 * row - 1.5) / 4, -0.5) * cubic((x - 4 * column - 1.5) / 4, -0.5)
            total += weight * image[mirrored(y, image.shape[0]), mirrored(x, image.shape[1])]
            weight_total += weight
    return total / weight_total


def enlarged_slowly(image: np.ndarray, row: int, column: int) -> np.ndarray:
    total = np.zeros(3)
    centre_y, centre_x = (row + 0.5) / 4 - 0.5, (column + 0.5) / 4 - 0.5
    for y in range(int(np.floor(centre_y)) - 1, int(np.floor(centre_y)) + 3):
        for x in range(int(np.floor(centre_x)) - 1, int(np.floor(centre_x)) + 3):
            pixel = image[min(max(y, 0), image.shape[0] - 1), min(max(x, 0), image.shape[1] - 1)]
            total += cubic(centre_y - y, -0.75) * cubic(centre_x - x, -0.75) * pixel
    return total


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 2), (5, 6)])
def test_shrink_tap_by_tap(row, column):
    image = np.random.default_rng(2).integers(60, 200, (24, 28, 3)).astype(np.uint8)
    small = shrink(image)
    assert small.shape == (6, 7, 3)
    assert small[row, column] == pytest.approx(shrunk_slowly(image, row, column), abs=0.51)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (10, 13), (23, 27)])
def test_enlarge_tap_by_tap(row, column):
    image = np.random.default_rng(3).integers(60, 200, (6, 7, 3)).astype(np.uint8)
    large = enlarge(image)
    assert large.shape == (24, 28, 3)
    assert large[row, column] == pytest.approx(enlarged_slowly(image, row, column), abs=0.51)


def test_training_and_evaluation_mean_the_same_bicubic():
    image = np.random.default_rng(4).integers(0, 256, (9, 8, 3)).astype(np.uint8)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    assert np.array_equal(quantize(enlarge_batch(batch)[0].permute(1, 2, 0).numpy()), enlarge(image))


def test_shrink_does_not_alias():
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = 200
    assert shrink(stripes)[:, 2:-2].tolist() == np.full((8, 4, 3), 100).tolist()


def test_crop_centre_keeps_multiples_of_four():
    image = np.arange(23 * 30 * 3, dtype=np.uint16).reshape(23, 30, 3)
    assert np.array_equal(crop_centre(image), image[1:21, 1:29])
    assert np.array_equal(crop_centre(image, limit=18), image[3:19, 7:23])


def test_shrink_refuses_other_sides():
    with pytest.raises(EvaluationError, match="multiples of 4 to shrink, got 30x20"):
        shrink(np.zeros((20, 30, 3), np.uint8))
