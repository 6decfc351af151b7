"""Blur of a lens on the high-resolution image: Gaussian, stretched Gaussian or the disc of a missed focus."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Optics:
    """One lens; lengths in pixels of the high-resolution image."""

    sigma: float = 1.0
    """Standard deviation of the Gaussian along its longer axis; left out where `disc_radius` is given."""
    ratio: float = 1.0
    """Longer by shorter axis, at least 1."""
    angle: float = 0.0
    """Direction of the longer axis in radians."""
    disc_radius: float | None = None
    """Radius of an even disc instead."""

    def kernel(self) -> np.ndarray:
        """(K, K) float32, sum 1."""
        reach = math.ceil(self.disc_radius + 1 if self.disc_radius else 3.5 * self.sigma)
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
        if self.disc_radius is not None:
            weights = np.clip(self.disc_radius + 0.5 - np.hypot(x, y), 0, 1)
        else:
            along = x * math.cos(self.angle) + y * math.sin(self.angle)
            across = (y * math.cos(self.angle) - x * math.sin(self.angle)) * self.ratio
            weights = np.exp(-(along**2 + across**2) / (2 * self.sigma**2))
        return (weights / weights.sum()).astype(np.float32)

    def blur(self, image: np.ndarray) -> np.ndarray:
        """Blur an (H, W, 3) float32 image, mirrored at its border. The mean is kept."""
        if self.disc_radius is None and self.ratio == 1:
            size = 2 * math.ceil(3.5 * self.sigma) + 1
            return cv2.GaussianBlur(image, (size, size), self.sigma, borderType=cv2.BORDER_REFLECT)
        return cv2.filter2D(image, -1, self.kernel(), borderType=cv2.BORDER_REFLECT)
