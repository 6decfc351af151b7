"""Warping and dynamic filters against slow, obvious computations."""

from __future__ import annotations

import pytest
import torch

from fmanet_cli.model.filtering import backward_warp, dynamic_downsampling, dynamic_upsampling, warp_features


def test_whole_pixel_flow_shifts_and_leaves_zero_outside() -> None:
    image = torch.arange(12.0).view(1, 1, 3, 4)
    flow = torch.zeros(1, 2, 3, 4)
    flow[:, 0] = 1
    expected = torch.tensor([[1.0, 2, 3, 0], [5, 6, 7, 0], [9, 10, 11, 0]])
    torch.testing.assert_close(backward_warp(image, flow)[0, 0], expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sampling_grid_is_float32_at_width_1280(dtype: torch.dtype) -> None:
    ramp = torch.arange(1280.0).view(1, 1, 1, 1280).expand(1, 1, 2, 1280)
    flow = torch.full((1, 2, 2, 1280), 0.25)
    flow[:, 1] = 0
    warped = backward_warp(ramp.to(torch.float32), flow.to(dtype))
    # A float16 grid would be off by up to 0.3 pixel here.
    torch.testing.assert_close(warped[..., :-1], ramp[..., :-1] + 0.25, atol=2e-3, rtol=0)


def test_each_group_of_channels_follows_its_own_pair() -> None:
    features = torch.arange(8.0).view(1, 2, 1, 1, 4)
    flow_masks = torch.zeros(1, 6, 1, 1, 4)
    flow_masks[:, 0] = 1
    flow_masks[:, 3] = -1
    flow_masks[:, 2] = flow_masks[:, 5] = 100
    warped = warp_features(features, flow_masks)[0, :, 0, 0]
    torch.testing.assert_close(warped, torch.tensor([[1.0, 2, 3, 0], [0, 4, 5, 6]]))


def test_dynamic_upsampling_equals_the_sum_over_taps() -> None:
    generator = torch.Generator().manual_seed(0)
    window = torch.rand(1, 3, 3, 4, 5, generator=generator)
    kernels = torch.randn(1, 16 * 9, 3, 4, 5, generator=generator)
    result = dynamic_upsampling(window, kernels, 4)
    values = kernels.view(1, 16, 9, 3, 4, 5)
    values = values - values.mean(dim=(2, 3), keepdim=True) + 1 / 27
    padded = torch.nn.functional.pad(window, (1, 1, 1, 1, 0, 0), mode="replicate")
    for y, x, row, column, channel in [(0, 0, 0, 0, 0), (3, 4, 3, 3, 2), (1, 2, 2, 1, 1)]:
        expected = sum(
            values[0, row * 4 + column, 3 * dy + dx, frame, y, x] * padded[0, channel, frame, y + dy, x + dx]
            for frame in range(3)
            for dy in range(3)
            for dx in range(3)
        )
        torch.testing.assert_close(result[0, channel, 4 * y + row, 4 * x + column], expected)


def test_dynamic_downsampling_of_a_covered_flat_window_is_flat() -> None:
    sharp = torch.full((1, 3, 3, 16, 16), 0.4)
    coverage = torch.ones(1, 1, 3, 16, 16)
    logits = torch.randn(1, 36, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(dynamic_downsampling(sharp, coverage, logits, 4), torch.full((1, 3, 4, 4), 0.4))


def test_occluded_frames_do_not_darken_the_reconstruction() -> None:
    sharp = torch.full((1, 3, 3, 16, 16), 0.4)
    coverage = torch.ones(1, 1, 3, 16, 16)
    sharp[:, :, 0] *= 0.1
    coverage[:, :, 0] *= 0.1
    logits = torch.zeros(1, 36, 3, 4, 4)
    torch.testing.assert_close(dynamic_downsampling(sharp, coverage, logits, 4), torch.full((1, 3, 4, 4), 0.4))
