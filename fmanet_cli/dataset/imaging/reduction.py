"""Reduction to a smaller image with the kernels that cameras and programs use."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch


def _cubic(a: float) -> Callable[[np.ndarray], np.ndarray]:
    def weigh(distance: np.ndarray) -> np.ndarray:
        d = np.abs(distance)
        near = (a + 2) * d**3 - (a + 3) * d**2 + 1
        far = a * (d**3 - 5 * d**2 + 8 * d - 4)
        return np.where(d <= 1, near, np.where(d < 2, far, 0.0))

    return weigh


_KERNELS: dict[str, tuple[float, Callable[[np.ndarray], np.ndarray]]] = {
    "area": (0.5, np.ones_like),
    "bilinear": (1.0, lambda d: np.maximum(1 - np.abs(d), 0)),
    "bicubic": (2.0, _cubic(-0.5)),
    "sharp-bicubic": (2.0, _cubic(-0.75)),
    "lanczos": (3.0, lambda d: np.sinc(d) * np.sinc(d / 3) * (np.abs(d) < 3)),
}

KERNELS = tuple(_KERNELS)
"""`area`: the mean of what a pixel covers; `bilinear`, `bicubic` (a = -0.5), `sharp-bicubic` (a = -0.75) and
`lanczos` (3 lobes), all widened by the reduction so that little aliases."""


def reduce_image(image: np.ndarray, size: tuple[int, int], kernel: str) -> np.ndarray:
    """Reduce (..., H, W, C) float32 to `size` (height, width), at most as large; centres and the mean are kept.

    The image is mirrored at its border. Values may leave [0, 1] where the kernel has negative weights.
    """
    *front, height, width, channels = image.shape
    if (height, width) == size:
        return image
    # By torch, whose threads each process sets: numpy's library takes all cores in each of several training processes,
    # and its threads turn in circles while they wait for one another.
    pixels = torch.from_numpy(np.ascontiguousarray(image)).reshape(*front, height, width * channels)
    rows = (_weights(height, size[0], kernel) @ pixels).reshape(*front, size[0], width, channels)
    return (_weights(width, size[1], kernel) @ rows).numpy()


@lru_cache(maxsize=64)
def _weights(length: int, reduced: int, kernel: str) -> torch.Tensor:
    """(reduced, length) float32 rows of sum 1."""
    if reduced > length:
        raise ValueError(f"a reduction cannot enlarge: got {length} to {reduced} pixels")
    support, weigh = _KERNELS[kernel]
    ratio = length / reduced
    matrix = np.zeros((reduced, length))
    for row in range(reduced):
        centre = (row + 0.5) * ratio - 0.5
        reach = support * ratio + 0.5
        taps = np.arange(math.ceil(centre - reach), math.floor(centre + reach) + 1)
        if kernel == "area":
            covered = np.minimum(taps + 0.5, centre + ratio / 2) - np.maximum(taps - 0.5, centre - ratio / 2)
            weights = np.maximum(covered, 0)
        else:
            weights = weigh((taps - centre) / ratio)
        mirrored = taps % (2 * length)
        np.add.at(matrix[row], np.minimum(mirrored, 2 * length - 1 - mirrored), weights / weights.sum())
    return torch.from_numpy(matrix.astype(np.float32))
