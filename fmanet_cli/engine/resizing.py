"""Restored frames brought to a requested size, on the device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.inference_mode()
def resized(picture: Tensor, size: tuple[int, int] | None) -> Tensor:
    """Clips a picture to [0, 1] and brings it to a size by antialiased bicubic interpolation.

    Args:
        picture: (3, H, W) float32.
        size: (height, width); None or that of the picture leave it as it is.

    Returns:
        (3, height, width) float32 on the same device.
    """
    if size is None or picture.shape[1:] == size:
        return picture
    clipped = picture.clamp(0, 1)[None]
    try:
        large = _interpolated(clipped, size)
    except NotImplementedError:
        # Not every kind of device has this interpolation.
        large = _interpolated(clipped.cpu(), size).to(picture.device)
    return large[0].clamp_(0, 1)


def _interpolated(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(pictures, size=size, mode="bicubic", antialias=True, align_corners=False)
