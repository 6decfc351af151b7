"""Made-up images with the statistics of photographs: overlapping leaves of all sizes."""

from __future__ import annotations

import functools

import cv2
import numpy as np


@functools.cache
def dead_leaves(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """(height, width, 3) float32 in [0, 1]: discs of radii that follow r^-3 hide each other, sharp to the pixel."""
    rng = np.random.default_rng(seed)
    large = np.full((4 * height, 4 * width, 3), 128, np.uint8)
    radii = 4 / np.sqrt(rng.uniform(0.0004, 1, height * width // 4))
    for radius in radii:
        centre = rng.integers(0, (4 * width, 4 * height))
        cv2.circle(large, tuple(map(int, centre)), int(radius), tuple(map(int, rng.integers(20, 236, 3))), -1)
    small = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(255)


def grained(image: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """The same with a texture of three sizes, as surfaces have it."""
    rng = np.random.default_rng(seed)
    texture = np.zeros(image.shape[:2])
    for size, strength in ((0.7, 0.02), (1.5, 0.02), (3, 0.03)):
        grain = rng.standard_normal(image.shape[:2])
        texture += strength * size * cv2.GaussianBlur(grain, (0, 0), size)
    return (0.2 + 0.6 * image + texture[..., None]).clip(0, 1).astype(np.float32)


def line_of_blur(image: np.ndarray, length: float, degrees: float) -> np.ndarray:
    """The image that a camera takes while it moves that many pixels along a line."""
    if not length:
        return image
    side = 2 * int(np.ceil(length / 2)) + 5
    kernel = np.zeros((side, side))
    for along in np.linspace(-length / 2, length / 2, 20 * round(length) + 1):
        x, y = side // 2 + along * np.cos(np.radians(degrees)), side // 2 - along * np.sin(np.radians(degrees))
        left, top = int(x), int(y)
        kernel[top : top + 2, left : left + 2] += np.outer([top + 1 - y, y - top], [left + 1 - x, x - left])
    return cv2.filter2D(image, -1, (kernel / kernel.sum()).astype(np.float32), borderType=cv2.BORDER_REFLECT)
