"""Where images of one size differ most."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def most_changed_area(before: np.ndarray, after: Sequence[np.ndarray], size: tuple[int, int]) -> tuple[slice, slice]:
    """The rectangle in which `after` differs most from `before`.

    Args:
        before: (H, W, 3).
        after: images of the same size; their differences are added up.
        size: height and width of the rectangle in pixels, less where the image is smaller.

    Returns:
        Rows and columns.
    """
    change = sum(np.abs(image - before).mean(axis=2) for image in after)
    assert isinstance(change, np.ndarray)
    height, width = (min(wanted, side) for wanted, side in zip(size, change.shape, strict=True))
    sums = cv2.boxFilter(change, -1, (width, height), anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT)
    inside = sums[: change.shape[0] - height + 1, : change.shape[1] - width + 1]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)


def marked(image: np.ndarray, area: tuple[slice, slice], *, thickness: int) -> np.ndarray:
    """A copy of an (H, W, 3) image in [0, 1] with a border around an area, white inside black."""
    rows, columns = area
    copy = np.ascontiguousarray(image, dtype=np.float32).copy()
    corners = (columns.start, rows.start), (columns.stop - 1, rows.stop - 1)
    cv2.rectangle(copy, *corners, (0.0, 0.0, 0.0), 2 * thickness)
    cv2.rectangle(copy, *corners, (1.0, 1.0, 1.0), thickness)
    return copy
