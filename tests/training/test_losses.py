"""Losses against values computed by hand."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from fmanet_cli.training.image_losses import (
    block_mean_loss,
    fourier_loss,
    overshoot_loss,
    psnr_loss,
    relative_loss,
)
from fmanet_cli.training.losses import LossWeights, degradation_loss, flow_loss, restoration_loss
from fmanet_cli.training.windows import WindowBatch


@dataclass
class Predictions:
    restored: Tensor
    reconstruction: Tensor | None
    warped_sharp: Tensor | None
    warped_window: Tensor
    flow_mask: Tensor
    anchor_degradation: Tensor
    anchor_restoration: Tensor


def constant(value: float, *shape: int) -> Tensor:
    return torch.full(shape, value)


@pytest.fixture
def batch() -> WindowBatch:
    """Blurry 0.25, sharp 0.5; the flow is 2 pixels of which half is visible."""
    valid = torch.ones(1, 1, 3, 4, 4)
    valid[..., :2] = 0.0
    return WindowBatch(
        blurry=constant(0.25, 1, 3, 3, 4, 4),
        sharp=constant(0.5, 1, 3, 3, 16, 16),
        flow=constant(2.0, 1, 2, 3, 4, 4),
        flow_valid=valid,
    )


@pytest.fixture
def predictions() -> Predictions:
    return Predictions(
        restored=constant(0.4, 1, 3, 16, 16),
        reconstruction=constant(0.3, 1, 3, 4, 4),
        warped_sharp=constant(0.7, 1, 3, 3, 16, 16),
        warped_window=constant(0.15, 1, 3, 3, 4, 4),
        flow_mask=constant(1.5, 1, 3, 3, 4, 4),
        anchor_degradation=constant(0.56, 1, 3, 3, 4, 4),
        anchor_restoration=constant(0.52, 1, 3, 3, 4, 4),
    )


def test_stage_1_is_equation_8(batch, predictions):
    loss = degradation_loss(predictions, predictions.anchor_degradation, batch, LossWeights())
    assert float(loss.reconstruction) == pytest.approx(0.05)
    assert float(loss.warped_sharp) == pytest.approx(0.2)
    assert float(loss.flow) == pytest.approx(0.5)
    assert float(loss.anchor) == pytest.approx(0.06, abs=1e-5)
    assert float(loss.total) == pytest.approx(0.05 + 0.1 * 0.2 + 1e-4 * 0.5 + 0.1 * 0.06, abs=1e-6)


def test_stage_2_is_equation_9(batch, predictions):
    loss = restoration_loss(predictions, batch, LossWeights())
    assert float(loss.restored) == pytest.approx(0.1)
    assert float(loss.warped_window) == pytest.approx(0.1)
    assert float(loss.anchor) == pytest.approx(0.02, abs=1e-5)
    expected = 0.1 + 0.1 * 0.1 + 0.1 * 0.02 + 0.1 * (0.05 + 0.1 * 0.2 + 1e-4 * 0.5 + 0.1 * 0.06)
    assert float(loss.total) == pytest.approx(expected, abs=1e-6)


def test_terms_that_were_not_computed_are_zero(batch, predictions):
    predictions.reconstruction = predictions.warped_sharp = None
    loss = degradation_loss(predictions, predictions.anchor_degradation, batch, LossWeights(flow=0.0))
    assert not loss.rebuilt
    assert float(loss.total) == pytest.approx(0.1 * 0.06, abs=1e-6)


def test_flow_counts_where_it_is_visible():
    predicted, flow = torch.zeros(1, 2, 1, 1, 2), torch.tensor([[[[[1.0, 100.0]]], [[[3.0, 100.0]]]]])
    valid = torch.tensor([[[[[1.0, 0.0]]]]])
    assert float(flow_loss(predicted, flow, valid)) == pytest.approx(2.0)
    assert float(flow_loss(predicted, flow, torch.zeros_like(valid))) == 0.0


def test_weights_must_not_be_negative_or_undefined():
    with pytest.raises(ValueError, match="flow must not be negative, got nan"):
        LossWeights(flow=float("nan"))


def test_a_charbonnier_difference_is_soft_near_zero(batch, predictions):
    loss = restoration_loss(predictions, batch, LossWeights(charbonnier=0.1))
    assert float(loss.restored) == pytest.approx((0.1**2 + 0.1**2) ** 0.5)


def test_fourier_charges_a_wave_by_its_amplitude_wherever_it_is(batch):
    truth = torch.zeros(1, 3, 16, 16)
    column = torch.arange(16) * (2 * torch.pi / 16)
    for cycles in (1, 3):
        wave = 0.1 * torch.cos(cycles * column).expand(1, 3, 16, 16)
        # One coefficient of 16 x 9, of size 0.1 * 16 / 2, among real and imaginary parts.
        assert float(fourier_loss(wave, truth, batch)) == pytest.approx(0.8 / (16 * 9 * 2), rel=1e-4)


def test_block_means_see_brightness_and_no_texture(batch):
    truth = torch.full((1, 3, 32, 32), 0.5)
    checks = (torch.arange(32)[:, None] + torch.arange(32)) % 2 - 0.5
    assert float(block_mean_loss(truth + 0.1 * checks, truth, batch)) == pytest.approx(0.0, abs=1e-7)
    assert float(block_mean_loss(truth + 0.02, truth, batch)) == pytest.approx(0.02)


def test_relative_loss_is_the_share_of_what_bicubic_leaves_in_each_window():
    blurry = torch.full((3, 3, 3, 4, 4), 0.25)
    truth = torch.full((3, 3, 3, 16, 16), 0.25)
    truth[0] += 0.2
    truth[1] += 0.02
    flow, valid = torch.zeros(3, 2, 3, 4, 4), torch.ones(3, 1, 3, 4, 4)
    batch = WindowBatch(blurry, truth, flow, valid)
    middle = truth[:, :, 1]
    restored = middle.clone()
    # Half of what bicubic leaves, all of it, and 1 code value where it leaves nothing.
    restored[0] -= 0.1
    restored[1] -= 0.02
    restored[2] += 1.0 / 255.0
    assert float(relative_loss(restored, middle, batch)) == pytest.approx((0.5 + 1.0 + 1.0) / 3, rel=1e-4)


def test_psnr_loss_is_the_gain_over_bicubic_with_the_other_sign():
    blurry, truth = torch.full((2, 3, 3, 4, 4), 0.25), torch.full((2, 3, 3, 16, 16), 0.45)
    truth[1] = 0.25
    batch = WindowBatch(blurry, truth, torch.zeros(2, 2, 3, 4, 4), torch.ones(2, 1, 3, 4, 4))
    middle = truth[:, :, 1]
    # Half the difference is 6 dB better; where nothing is to be gained one code value costs 3 dB.
    image = middle + torch.tensor([-0.1, 1.0 / 255.0]).view(2, 1, 1, 1)
    least = 1.0 / 255.0
    expected = [10.0 * math.log10((0.1**2 + least**2) / (0.2**2 + least**2)), 10.0 * math.log10(2.0)]
    assert float(psnr_loss(image, middle, batch)) == pytest.approx(sum(expected) / 2, rel=1e-4)


def test_squares_seek_the_mean_of_what_is_uncertain_and_absolute_differences_the_median():
    truth = torch.zeros(1, 3, 16, 16)
    truth[..., ::4] = 0.4
    valid = torch.ones(1, 1, 3, 4, 4)
    batch = WindowBatch(
        torch.full((1, 3, 3, 4, 4), 0.5), truth[:, :, None].repeat(1, 1, 3, 1, 1), valid[:, [0, 0]], valid
    )
    for loss, best in ((psnr_loss, 0.1), (relative_loss, 0.0)):
        level = torch.full((), 0.2, requires_grad=True)
        optimizer = torch.optim.SGD([level], lr=2e-3 if loss is psnr_loss else 1e-3)
        for _ in range(600):
            optimizer.zero_grad()
            loss(level.expand_as(truth), truth, batch).backward()
            optimizer.step()
        assert level.item() == pytest.approx(best, abs=0.01)


def test_overshoot_counts_what_leaves_the_range_around_a_pixel_in_still_windows():
    truth = torch.zeros(2, 3, 16, 16)
    truth[..., 8:] = 1.0
    image = truth.clone()
    image[..., 8] = 1.0 + 12.0 / 255.0
    image[..., 2] = -1.0 / 255.0
    valid = torch.ones(2, 1, 3, 4, 4)
    flow = torch.zeros(2, 2, 3, 4, 4)
    still = WindowBatch(torch.zeros(2, 3, 3, 4, 4), torch.zeros(2, 3, 3, 16, 16), flow, valid)
    expected = 10.0 / 255.0 / 16.0
    assert float(overshoot_loss(image, truth, still)) == pytest.approx(expected, rel=1e-4)
    flow[1] = 1.0
    image[1] += 5.0
    assert float(overshoot_loss(image, truth, still)) == pytest.approx(expected, rel=1e-4)
    flow[0] = 1.0
    assert float(overshoot_loss(image, truth, still)) == 0.0


@pytest.mark.parametrize("name", ["fourier", "block_means", "overshoot", "relative", "psnr"])
def test_terms_of_the_restored_frame_are_added_by_their_weight_and_left_out_without(batch, predictions, name):
    still = dataclasses.replace(batch, flow=torch.zeros_like(batch.flow), flow_valid=torch.ones_like(batch.flow_valid))
    plain = restoration_loss(predictions, still, LossWeights())
    weighted = restoration_loss(predictions, still, LossWeights(**{name: 2.0}))
    assert name not in plain.figures()
    added = float(weighted.figures()[name])
    assert added != 0.0
    assert float(weighted.total) == pytest.approx(float(plain.total) + 2.0 * added)
