"""Validation on fixed windows: how much better than bicubic enlargement the network restores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from fmanet_cli.dataset.byte_images import ByteImage, quantize
from fmanet_cli.dataset.resampling import enlarge_batch
from fmanet_cli.evaluation.metrics import psnr
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.training.windows import WindowBatch


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """Means over all validation windows, in dB."""

    psnr: float
    """PSNR of the restored middle frames (RGB, 8 bits, 4-pixel border cropped)."""
    bicubic_psnr: float
    """PSNR of the bicubic enlargement."""

    @property
    def gain(self) -> float:
        """Decibels above bicubic."""
        return self.psnr - self.bicubic_psnr


@torch.no_grad()
def validate(model: FMANet, windows: Sequence[WindowBatch], *, autocast: torch.dtype | None) -> ValidationResult:
    """Restore the windows, all on the model's device, and compare with the sharp middle frames."""
    restored_psnr: list[float] = []
    bicubic_psnr: list[float] = []
    training = model.training
    model.eval()
    for batch in windows:
        middle = batch.blurry.shape[2] // 2
        truth = batch.sharp[:, :, middle]
        device = batch.blurry.device.type
        with torch.autocast(device, dtype=autocast or torch.bfloat16, enabled=autocast is not None):
            restored = model(batch.blurry).float()
        restored_psnr += psnrs(restored, truth)
        bicubic_psnr += psnrs(enlarge_batch(batch.blurry[:, :, middle]), truth)
    model.train(training)
    return ValidationResult(fmean(restored_psnr), fmean(bicubic_psnr))


def psnrs(images: Tensor, truth: Tensor) -> list[float]:
    """PSNR in dB of each of (B, 3, H, W) images in [0, 1], as `fmanet evaluate` measures it on 8-bit frames."""
    pairs = zip(_byte_images(images), _byte_images(truth), strict=True)
    return [psnr(image, true) for image, true in pairs]


def _byte_images(images: Tensor) -> list[ByteImage]:
    return [quantize(image) for image in images.permute(0, 2, 3, 1).cpu().numpy()]
