"""Display matrices applied to pixels, for containers that cannot carry them."""

from __future__ import annotations

import numpy as np

from fmanet_cli.video.frames import DisplayMatrix

_ONE = 1 << 16


def is_right_angled(matrix: DisplayMatrix) -> bool:
    """Whether a matrix only turns by quarter turns and flips."""
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    straight = abs(a) == abs(d) == _ONE and b == c == 0
    return straight or swaps_sides(matrix)


def swaps_sides(matrix: DisplayMatrix) -> bool:
    """Whether height and width change places."""
    return matrix[0] == matrix[4] == 0 and abs(matrix[1]) == abs(matrix[3]) == _ONE


def oriented(image: np.ndarray, matrix: DisplayMatrix) -> np.ndarray:
    """(H, W, 3) image as it is to be shown, for a right-angled matrix: x' = a x + c y, y' = b x + d y."""
    if swaps_sides(matrix):
        image = image.transpose(1, 0, 2)
        to_x, to_y = matrix[3], matrix[1]
    else:
        to_x, to_y = matrix[0], matrix[4]
    if to_x < 0:
        image = image[:, ::-1]
    if to_y < 0:
        image = image[::-1]
    return image
