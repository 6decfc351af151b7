"""Frames that show what the frame before shows, as in stills and recorded screens."""

from __future__ import annotations

import numpy as np

_ROWS_APART = 32
"""Rows that are compared first: films without repetition differ there, and the rest of the frame is not looked at."""


def shows_the_same(image: np.ndarray, before: np.ndarray) -> bool:
    """Whether two images of (H, W, 3) are equal in every value."""
    if image.shape != before.shape or not np.array_equal(image[::_ROWS_APART], before[::_ROWS_APART]):
        return False
    return np.array_equal(image, before)
