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


@dataclass(frozen=True, slots=True, eq=False)
class ValidationWindows:
    """A batch of windows to validate on, of whole 8-bit code values, as files have them."""

    blurry: Tensor
    """(B, 3, T, H, W) float32 in [0, 1]."""
    truth: Tensor
    """(B, 3, 4H, 4W) float32 in [0, 1]: the sharp middle frames."""

    @classmethod
    def of(cls, batch: WindowBatch) -> ValidationWindows:
        """What validation sees of a batch."""
        middle = batch.blurry.shape[2] // 2
        return cls.from_bytes(*(_to_bytes(tensor) for tensor in (batch.blurry, batch.sharp[:, :, middle])))

    @classmethod
    def from_bytes(cls, blurry: Tensor, truth: Tensor) -> ValidationWindows:
        """The inverse of `to_bytes`."""
        return cls(blurry.float() / 255.0, truth.float() / 255.0)

    def to_bytes(self) -> tuple[Tensor, Tensor]:
        """Both tensors as uint8."""
        return _to_bytes(self.blurry), _to_bytes(self.truth)

    def to(self, device: torch.device) -> ValidationWindows:
        """The same windows on `device`."""
        return ValidationWindows(self.blurry.to(device), self.truth.to(device))


@torch.no_grad()
def validate(model: FMANet, windows: Sequence[ValidationWindows], *, autocast: torch.dtype | None) -> ValidationResult:
    """Restore the windows, all on the model's device, and compare with the sharp middle frames."""
    restored_psnr: list[float] = []
    bicubic_psnr: list[float] = []
    training = model.training
    model.eval()
    for batch in windows:
        middle = batch.blurry.shape[2] // 2
        device = batch.blurry.device.type
        with torch.autocast(device, dtype=autocast or torch.bfloat16, enabled=autocast is not None):
            restored = model(batch.blurry).float()
        restored_psnr += psnrs(restored, batch.truth)
        bicubic_psnr += psnrs(enlarge_batch(batch.blurry[:, :, middle]), batch.truth)
    model.train(training)
    return ValidationResult(fmean(restored_psnr), fmean(bicubic_psnr))


def psnrs(images: Tensor, truth: Tensor) -> list[float]:
    """PSNR in dB of each of (B, 3, H, W) images in [0, 1], as `fmanet evaluate` measures it on 8-bit frames."""
    pairs = zip(_byte_images(images), _byte_images(truth), strict=True)
    return [psnr(image, true) for image, true in pairs]


def _byte_images(images: Tensor) -> list[ByteImage]:
    return [quantize(image) for image in images.permute(0, 2, 3, 1).cpu().numpy()]


def _to_bytes(images: Tensor) -> Tensor:
    return (images.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
