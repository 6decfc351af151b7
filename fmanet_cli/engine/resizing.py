"""Restored frames brought to a requested size, on the device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.inference_mode()
def resized(image: Tensor, size: tuple[int, int] | None) -> Tensor:
    """Clip an image to [0, 1] and bring it to a size by antialiased bicubic interpolation.

    Args:
        image: (3, H, W) float32.
        size: (height, width); None or its own leave it as it is.

    Returns:
        (3, height, width) float32 on the same device.
    """
    if size is None or image.shape[1:] == size:
        return image
    clipped = image.clamp(0, 1)[None]
    try:
        large = _interpolated(clipped, size)
    except NotImplementedError:
        # Not every kind of device has this interpolation.
        large = _interpolated(clipped.cpu(), size).to(image.device)
    return large[0].clamp_(0, 1)


def _interpolated(images: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)
