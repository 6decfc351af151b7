"""Images of 8 bits a channel: what clips are kept and compared in."""

from __future__ import annotations

import numpy as np

ByteImage = np.ndarray
"""(H, W, 3) uint8, RGB, gamma-coded."""

PEAK = 255.0
"""Largest code value."""


def quantize(image: np.ndarray) -> ByteImage:
    """Return a float image of values in [0, 1] as rounded 8-bit code values; values outside are clipped."""
    scaled = np.multiply(image, np.float32(PEAK), dtype=np.float32)
    np.rint(scaled, out=scaled)
    np.clip(scaled, 0, PEAK, out=scaled)
    return scaled.astype(np.uint8)


def describe_size(image: np.ndarray) -> str:
    """Return an image's size as people write it: width x height."""
    return f"{image.shape[1]}x{image.shape[0]}"
