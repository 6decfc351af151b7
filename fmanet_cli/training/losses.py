"""The losses of both training stages (paper Eq. 8 and 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from fmanet_cli.model.degradation import DegradationOutputs
from fmanet_cli.model.fmanet import TrainingOutputs
from fmanet_cli.training.image_losses import IMAGE_TERMS, restored_loss
from fmanet_cli.training.windows import WindowBatch, downscale_window


@dataclass(frozen=True, slots=True)
class LossWeights:
    """The factors of paper Eq. 8 and 9, with the values of the authors' configuration."""

    warped_sharp: float = 0.1
    """lambda 1: sharp frames warped to the middle one."""
    flow: float = 1e-4
    """lambda 2: optical flow, in low-resolution pixels."""
    anchor_degradation: float = 0.1
    """lambda 3: temporal anchor of Net^D."""
    warped_window: float = 0.1
    """lambda 4: blurry frames warped to the middle one."""
    anchor_restoration: float = 0.1
    """lambda 5: temporal anchor of Net^R."""
    degradation: float = 0.1
    """lambda 6: the whole of Eq. 8 inside Eq. 9."""
    charbonnier: float = 0.0
    """Softens the restored frame's absolute difference d to sqrt(d^2 + charbonnier^2); 0 leaves it."""
    fourier: float = 0.0
    """Of `fourier_loss` of the restored frame."""
    block_means: float = 0.0
    """Of `block_mean_loss` of the restored frame."""
    relative: float = 0.0
    """Of `relative_loss` of the restored frame."""
    psnr: float = 0.0
    """Of `psnr_loss` of the restored frame."""
    overshoot: float = 0.0
    """Of `overshoot_loss` of the restored frame."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) >= 0:
                raise ValueError(f"{field.name} must not be negative, got {getattr(self, field.name)}")


@dataclass(frozen=True, slots=True, eq=False)
class DegradationLoss:
    """Eq. 8 and its terms, each a scalar tensor before its factor."""

    total: Tensor
    reconstruction: Tensor
    warped_sharp: Tensor
    flow: Tensor
    anchor: Tensor
    rebuilt: bool
    """Whether the first two terms were computed; they are 0 otherwise."""

    def figures(self) -> dict[str, Tensor]:
        """The scalars that were computed, by the names that logs give them, without their graph."""
        rebuilt = {"reconstruction": self.reconstruction, "warped_sharp": self.warped_sharp} if self.rebuilt else {}
        named = {"total": self.total, **rebuilt, "flow": self.flow, "anchor_degradation": self.anchor}
        return {name: value.detach() for name, value in named.items()}


@dataclass(frozen=True, slots=True, eq=False)
class RestorationLoss:
    """Eq. 9 and its terms, each a scalar tensor before its factor."""

    total: Tensor
    restored: Tensor
    warped_window: Tensor
    anchor: Tensor
    degradation: DegradationLoss
    of_image: Mapping[str, Tensor]
    """Those further terms of the restored frame that have a weight, by the names of their weights."""

    def figures(self) -> dict[str, Tensor]:
        """The scalars that were computed, by the names that logs give them, without their graph."""
        named = {
            "total": self.total,
            "restored": self.restored,
            "warped_window": self.warped_window,
            "anchor_restoration": self.anchor,
            **self.of_image,
        }
        return {**self.degradation.figures(), **{name: value.detach() for name, value in named.items()}}


def degradation_loss(
    predictions: DegradationOutputs | TrainingOutputs, anchor: Tensor, batch: WindowBatch, weights: LossWeights
) -> DegradationLoss:
    """Stage 1, paper Eq. 8. The sum over frames is a mean, as in the authors' code.

    `anchor` is Net^D's temporal anchor, (B, 3, T, H, W). Terms whose prediction was not computed are 0.
    """
    middle = batch.sharp.shape[2] // 2
    reconstruction = warped_sharp = batch.blurry.new_zeros(())
    if predictions.reconstruction is not None:
        rebuilt = batch.blurry if batch.blurry_clean is None else batch.blurry_clean
        reconstruction = F.l1_loss(predictions.reconstruction.float(), rebuilt[:, :, middle])
    if predictions.warped_sharp is not None:
        centre = batch.sharp[:, :, middle : middle + 1].expand_as(batch.sharp)
        warped_sharp = F.l1_loss(predictions.warped_sharp.float(), centre)
    flow = flow_loss(predictions.flow_mask[:, :2].float(), batch.flow, batch.flow_valid)
    anchor_term = F.l1_loss(anchor.float(), downscale_window(batch.sharp))
    total = (
        reconstruction
        + weights.warped_sharp * warped_sharp
        + weights.flow * flow
        + weights.anchor_degradation * anchor_term
    )
    return DegradationLoss(
        total, reconstruction, warped_sharp, flow, anchor_term, rebuilt=predictions.reconstruction is not None
    )


def restoration_loss(predictions: TrainingOutputs, batch: WindowBatch, weights: LossWeights) -> RestorationLoss:
    """Stage 2, paper Eq. 9."""
    middle = batch.sharp.shape[2] // 2
    image, truth = predictions.restored.float(), batch.sharp[:, :, middle]
    restored = restored_loss(image, truth, weights.charbonnier)
    centre = batch.blurry[:, :, middle : middle + 1].expand_as(batch.blurry)
    warped_window = F.l1_loss(predictions.warped_window.float(), centre)
    anchor = F.l1_loss(predictions.anchor_restoration.float(), downscale_window(batch.sharp))
    degradation = degradation_loss(predictions, predictions.anchor_degradation, batch, weights)
    of_image = {name: term(image, truth, batch) for name, term in IMAGE_TERMS.items() if getattr(weights, name)}
    total = (
        restored
        + sum(getattr(weights, name) * value for name, value in of_image.items())
        + weights.warped_window * warped_window
        + weights.anchor_restoration * anchor
        + weights.degradation * degradation.total
    )
    return RestorationLoss(total, restored, warped_window, anchor, degradation, of_image)


def flow_loss(predicted: Tensor, flow: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute difference of two (B, 2, T, H, W) flows where `valid` (B, 1, T, H, W) is 1, else 0."""
    difference = (predicted - flow).abs() * valid
    return difference.sum() / (2.0 * valid.sum()).clamp(min=torch.finfo(torch.float32).tiny)
