"""The batch of windows and the picture operations that all sources share."""

from __future__ import annotations

import pytest
import torch

from fmanet_cli.training.windows import WindowBatch, batch_generator, detail, downscale_window, to_gamma, to_linear


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


def test_linear_light_of_middle_grey():
    assert float(to_linear(torch.tensor(0.5))) == pytest.approx(0.21764, abs=1e-4)
    assert float(to_gamma(to_linear(torch.tensor(0.3)))) == pytest.approx(0.3, abs=1e-6)


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
