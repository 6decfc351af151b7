"""Bicubic resampling by four: antialiased to make low-resolution frames, plain to enlarge them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fmanet_cli.dataset.byte_images import ByteImage, describe_size
from fmanet_cli.dataset.imaging.reduction import reduce_image
from fmanet_cli.errors import EvaluationError
from fmanet_cli.model.config import SCALE


def shrink(image: ByteImage) -> ByteImage:
    """Return an RGB image at 1/4 of its sides, which must be multiples of 4.

    The cubic kernel (a = -0.5, as in the tools that made REDS) is widened by 4 so that nothing aliases; the image is
    mirrored at its border.
    """
    height, width = image.shape[:2]
    if height % SCALE or width % SCALE:
        raise EvaluationError(f"sides must be multiples of {SCALE} to shrink, got {describe_size(image)}")
    small = reduce_image(image.astype(np.float32), (height // SCALE, width // SCALE), "bicubic")
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)


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
    """Return the centre of an image, its sides multiples of 4 and at most `limit` pixels."""
    spans = []
    for length in image.shape[:2]:
        kept = min(length, limit or length) // SCALE * SCALE
        start = (length - kept) // 2
        spans.append(slice(start, start + kept))
    return image[spans[0], spans[1]]
