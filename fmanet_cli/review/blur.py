"""What a blur kernel says about the motion in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class KernelBlur:
    """The line that spreads light as a kernel does."""

    length: float
    """In the kernel's pixels; 0 = equally wide in every direction."""
    angle: float
    """Of its long axis in degrees, [0, 180): 0 = horizontal, counted against the clock as the frame is seen."""


def blur_of_kernel(kernel: np.ndarray) -> KernelBlur:
    """Length and angle of the motion in a blur kernel, by its second moments.

    A line of length L has the variance L² / 12 along itself. What spreads light in every direction (lens, sensor,
    compression) adds the same variance along and across, so it is the difference of the two that tells the motion.

    Args:
        kernel: (K, K), not negative, with a sum above 0.

    Raises:
        ValueError: the kernel is negative somewhere, or empty.
    """
    total = float(kernel.sum())
    if kernel.ndim != 2 or not total > 0 or float(kernel.min()) < 0:
        raise ValueError(f"a blur kernel is (K, K), not negative, and not empty; got {kernel.shape}, sum {total}")
    weights = kernel.astype(np.float64) / total
    rows, columns = np.mgrid[: kernel.shape[0], : kernel.shape[1]]
    x, y = columns - (weights * columns).sum(), (weights * rows).sum() - rows
    covariance = np.array([[(weights * x * x).sum(), (weights * x * y).sum()], [0, (weights * y * y).sum()]])
    variances, axes = np.linalg.eigh(covariance, UPLO="U")
    angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1])) % 180
    return KernelBlur(float(np.sqrt(12 * max(0.0, variances[1] - variances[0]))), float(angle))
