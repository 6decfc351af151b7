"""Restored frames brought to an asked size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch

from fmanet_cli.engine.resizing import resized as resized_tensor
from fmanet_cli.video.frames import Frame


def resized(frames: Iterable[Frame], height: int, width: int) -> Iterator[Frame]:
    """Frames at `height` x `width` by antialiased bicubic interpolation; frames of that size pass untouched."""
    for frame in frames:
        if frame.image.shape[:2] == (height, width):
            yield frame
        else:
            yield replace(frame, image=resize_image(frame.image, height, width))


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
    return resized_tensor(tensor, (height, width)).permute(1, 2, 0).contiguous().numpy()
