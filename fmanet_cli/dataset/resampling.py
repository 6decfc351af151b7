"""Bicubic resampling by four: antialiased to make low-resolution frames, plain to enlarge them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fmanet_cli.dataset.byte_images import ByteImage, describe_size
from fmanet_cli.errors import EvaluationError
from fmanet_cli.model.config import SCALE

SHRINKING_SHARPNESS = -0.5
"""Parameter a of the cubic kernel for shrinking, as in the tools that made REDS."""


def shrink(image: ByteImage) -> ByteImage:
    """Return an RGB image at 1/4 of its sides, which must be multiples of 4.

    The cubic kernel (a = -0.5) is widened by 4 so that nothing aliases; the image is mirrored at its border.
    """
    height, width = image.shape[:2]
    if height % SCALE or width % SCALE:
        raise EvaluationError(f"sides must be multiples of {SCALE} to shrink, got {describe_size(image)}")
    rows = _shrink_rows(image.astype(np.float32))
    both = _shrink_rows(rows.swapaxes(0, 1)).swapaxes(0, 1)
    return np.ascontiguousarray(np.clip(np.rint(both), 0, 255).astype(np.uint8))


def enlarge(image: ByteImage) -> ByteImage:
    """Return an RGB image at 4 times its sides by bicubic interpolation (a = -0.75): what a result has to beat."""
    codes = enlarge_batch(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    return codes[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


def enlarge_batch(images: Tensor) -> Tensor:
    """Return (B, 3, H, W) images as (B, 3, 4H, 4W), bicubic with a = -0.75, not clipped."""
    size = (SCALE * images.shape[-2], SCALE * images.shape[-1])
    # The paper prints no plain enlargement that would settle the kernel. This one, OpenCV's and PyTorch's, is harder to
    # beat than the other in use: with antialias PyTorch takes a = -0.5, which loses 0.07 to 0.11 dB to it on our sets.
    return F.interpolate(images, size=size, mode="bicubic", align_corners=False)


def crop_centre(image: ByteImage, *, limit: int | None = None) -> ByteImage:
    """Return the centre of an image, its sides multiples of 4 and at most ``limit`` pixels."""
    spans = []
    for length in image.shape[:2]:
        kept = min(length, limit or length) // SCALE * SCALE
        start = (length - kept) // 2
        spans.append(slice(start, start + kept))
    return image[spans[0], spans[1]]


def _shrink_rows(image: np.ndarray) -> np.ndarray:
    weights = _shrinking_weights()
    before = (len(weights) - SCALE) // 2
    height = image.shape[0]
    padded = np.pad(image, ((before, before), (0, 0), (0, 0)), mode="symmetric")
    taps = (weight * padded[tap : tap + height : SCALE] for tap, weight in enumerate(weights))
    total = np.zeros((height // SCALE, *image.shape[1:]), np.float32)
    for tap in taps:
        total += tap
    return total


def _shrinking_weights() -> np.ndarray:
    """Return the 16 weights of one output row; the same for every row, since the sides are multiples of 4."""
    distance = np.abs((np.arange(4 * SCALE) + 0.5) / SCALE - 2)
    a = SHRINKING_SHARPNESS
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    weights = np.where(distance <= 1, near, far)
    return (weights / weights.sum()).astype(np.float32)
