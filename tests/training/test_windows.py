"""The batch of windows and the image operations that all sources share."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from fmanet_cli.training.windows import (
    CODED_FRAMES,
    WindowBatch,
    batch_generator,
    coding_order,
    detail,
    downscale_window,
    join_batches,
)
from tests.training.conftest import SimpleWindows


def test_a_batch_with_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"sharp must have shape \(1, 3, 3, 32, 32\), got \(1, 3, 3, 16, 16\)"):
        WindowBatch(
            blurry=torch.zeros(1, 3, 3, 8, 8),
            sharp=torch.zeros(1, 3, 3, 16, 16),
            flow=torch.zeros(1, 2, 3, 8, 8),
            flow_valid=torch.zeros(1, 1, 3, 8, 8),
        )


def test_downscaling_a_ramp_averages_it():
    ramp = torch.arange(64.0).div(64).expand(1, 3, 1, 16, 64)
    small = downscale_window(ramp)
    assert small.shape == (1, 3, 1, 4, 16)
    torch.testing.assert_close(small[0, 0, 0, 2, 4:8], torch.tensor([17.5, 21.5, 25.5, 29.5]) / 64, atol=1e-5, rtol=0)


def test_detail_is_zero_where_flat_and_large_on_a_chessboard():
    image = torch.full((3, 64, 64), 0.5)
    image[:, :32, :32] = (torch.arange(32)[:, None] + torch.arange(32)) % 2
    measured = detail(image)
    assert measured.shape == (2, 2)
    assert float(measured[1, 1]) == 0.0
    assert float(measured[0, 0]) == pytest.approx(2.0, abs=0.1)


def test_neighbouring_batches_get_unrelated_generators():
    draws = [torch.rand(2, generator=batch_generator(0, index)).tolist() for index in range(3)]
    assert draws[0] != draws[1] != draws[2]
    assert draws[1] == torch.rand(2, generator=batch_generator(0, 1)).tolist()


def test_coded_frames_stand_in_mirrored_order_with_the_window_anywhere():
    starts = set()
    for seed in range(40):
        order, first = coding_order(3, np.random.default_rng(seed))
        assert order[first : first + 3] == [1, 2, 3]
        assert len(order) == CODED_FRAMES and set(order) <= set(range(5))
        assert all(abs(a - b) == 1 for a, b in itertools.pairwise(order))
        starts.add(first)
    assert starts == {0, 1, 2, 3, 4}
    order, first = coding_order(3, np.random.default_rng(0), spare=0)
    assert order[first : first + 3] == [0, 1, 2]


def test_a_batch_without_clean_frames_joins_into_one_without():
    batch = SimpleWindows().batch(0)
    with_clean = dataclasses.replace(batch, blurry_clean=batch.blurry)
    assert join_batches([with_clean, with_clean]).blurry_clean is not None
    assert join_batches([with_clean, batch]).blurry_clean is None
