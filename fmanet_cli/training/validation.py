"""Validation on fixed windows: how much better than bicubic enlargement the network restores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.training.windows import SCALE, WindowBatch, WindowSource

_BORDER_PIXELS = 4


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


def fixed_windows(source: WindowSource, *, batches: int) -> list[WindowBatch]:
    """The first batches of a source, kept for every validation of a run."""
    return [source.batch(index) for index in range(batches)]


@torch.no_grad()
def validate(model: FMANet, windows: Sequence[WindowBatch], *, autocast: torch.dtype | None) -> ValidationResult:
    """Restore the windows, all on the model's device, and compare with the sharp middle frames."""
    restored_psnr, bicubic_psnr = [], []
    training = model.training
    model.eval()
    for batch in windows:
        middle = batch.blurry.shape[2] // 2
        truth = batch.sharp[:, :, middle]
        device = batch.blurry.device.type
        with torch.autocast(device, dtype=autocast or torch.bfloat16, enabled=autocast is not None):
            restored = model(batch.blurry).float()
        restored_psnr.append(psnr(restored, truth))
        bicubic_psnr.append(psnr(enlarge(batch.blurry[:, :, middle]), truth))
    model.train(training)
    return ValidationResult(float(torch.cat(restored_psnr).mean()), float(torch.cat(bicubic_psnr).mean()))


def enlarge(images: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, 3, 4H, 4W), bicubic with a = -0.5: torch's antialiased resampling uses that value."""
    height, width = images.shape[-2] * SCALE, images.shape[-1] * SCALE
    return F.interpolate(images, size=(height, width), mode="bicubic", align_corners=False, antialias=True)


def psnr(images: Tensor, truth: Tensor) -> Tensor:
    """(B,) PSNR in dB of (B, 3, H, W) images in [0, 1], rounded to 8 bits, without the outermost four pixels."""
    inner = (..., slice(_BORDER_PIXELS, -_BORDER_PIXELS), slice(_BORDER_PIXELS, -_BORDER_PIXELS))
    difference = (images.clamp(0.0, 1.0) * 255.0).round() - (truth.clamp(0.0, 1.0) * 255.0).round()
    squared = (difference[inner] ** 2).mean((1, 2, 3)).clamp(min=1e-6)
    return 10.0 * torch.log10(255.0**2 / squared)
