"""Further losses of the restored frame. The paper has none of them; each is an option."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fmanet_cli.dataset.resampling import enlarge_batch
from fmanet_cli.training.windows import WindowBatch

BLOCK_PIXELS = 16
ALLOWED_OVERSHOOT = 2.0 / 255.0

_RANGE_PIXELS = 5
_LEAST_ERROR = 1.0 / 255.0
"""Windows that are restored better than this count as if this much were left."""
_STILL_PIXELS = 0.05
"""Windows whose visible flow stays below this, in low-resolution pixels, count as still."""


def restored_loss(image: Tensor, truth: Tensor, softness: float) -> Tensor:
    """Mean absolute difference of two (B, 3, H, W) images, or with `softness` Charbonnier's smooth kind of it."""
    if not softness:
        return F.l1_loss(image, truth)
    return ((image - truth).square() + softness**2).sqrt().mean()


def fourier_loss(image: Tensor, truth: Tensor, _: WindowBatch) -> Tensor:
    """Mean absolute difference of the orthonormal Fourier coefficients, real and imaginary parts.

    An amplitude that is too small is charged by frequency: an image that is merely soft costs more than by pixels.
    """
    return torch.view_as_real(torch.fft.rfft2(image - truth, norm="ortho")).abs().mean()


def block_mean_loss(image: Tensor, truth: Tensor, _: WindowBatch) -> Tensor:
    """Mean absolute difference of the means of 16x16 blocks: brightness and colour have to stay."""
    return F.avg_pool2d(image - truth, BLOCK_PIXELS).abs().mean()


def relative_loss(image: Tensor, truth: Tensor, batch: WindowBatch) -> Tensor:
    """Each window's mean absolute difference as a share of bicubic interpolation's; the mean over windows.

    Gains are measured in dB over bicubic, window by window. Without this, smooth windows, which bicubic restores well
    and a network easily harms, weigh next to nothing beside busy ones.
    """
    left = (_bicubic(batch) - truth).abs().flatten(1).mean(1).clamp(min=_LEAST_ERROR)
    return ((image - truth).abs().flatten(1).mean(1) / left).mean()


def psnr_loss(image: Tensor, truth: Tensor, batch: WindowBatch) -> Tensor:
    """Bicubic interpolation's PSNR less the image's, in dB; the mean over windows.

    What results are judged by. Squares seek the mean of what is uncertain, absolute differences the median.
    """
    errors = [(side - truth).square().flatten(1).mean(1) + _LEAST_ERROR**2 for side in (image, _bicubic(batch))]
    return 10.0 * (errors[0] / errors[1]).log10().mean()


def _bicubic(batch: WindowBatch) -> Tensor:
    """The middle blurry frames, enlarged: (B, 3, 4H, 4W)."""
    return enlarge_batch(batch.blurry[:, :, batch.blurry.shape[2] // 2].float()).clamp(0.0, 1.0)


def overshoot_loss(image: Tensor, truth: Tensor, batch: WindowBatch) -> Tensor:
    """How far a pixel lies outside the range of the truth's 5x5 pixels around it, beyond 2 of 255; a mean.

    Windows that move do not count: their contours may be off by a pixel without being wrong in themselves.
    """
    padding = _RANGE_PIXELS // 2
    highest = F.max_pool2d(truth, _RANGE_PIXELS, 1, padding)
    lowest = -F.max_pool2d(-truth, _RANGE_PIXELS, 1, padding)
    outside = F.relu(image - highest - ALLOWED_OVERSHOOT) + F.relu(lowest - image - ALLOWED_OVERSHOOT)
    motion = (batch.flow.abs() * batch.flow_valid).flatten(1).amax(1)
    known = batch.flow_valid.flatten(1).mean(1) > 0.5
    still = ((motion < _STILL_PIXELS) & known).to(image.dtype)
    return (outside.flatten(1).mean(1) * still).sum() / still.sum().clamp(min=1.0)


IMAGE_TERMS: dict[str, Callable[[Tensor, Tensor, WindowBatch], Tensor]] = {
    "fourier": fourier_loss,
    "block_means": block_mean_loss,
    "relative": relative_loss,
    "psnr": psnr_loss,
    "overshoot": overshoot_loss,
}
"""By the names of their weights."""
