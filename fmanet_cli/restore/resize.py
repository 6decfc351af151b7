"""One image brought to a requested size."""

from __future__ import annotations

import numpy as np
import torch

from fmanet_cli.engine.resizing import resized


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize one image by antialiased bicubic interpolation.

    Args:
        image: (H, W, 3) float32 in [0, 1], gamma-coded, in any order of colours; not changed.
        height: of the result, in pixels.
        width: of the result, in pixels.

    Returns:
        (height, width, 3) float32 in [0, 1], colours in the same order.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return resized(tensor, (height, width)).permute(1, 2, 0).contiguous().numpy()
