"""Display matrices applied to pixels, for containers that cannot carry them."""

from __future__ import annotations

import numpy as np

from fmanet_cli.video.frames import DisplayMatrix, VideoInfo

_ONE = 1 << 16


def is_right_angled(matrix: DisplayMatrix) -> bool:
    """Whether a matrix only turns by quarter turns and flips."""
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    straight = abs(a) == abs(d) == _ONE and b == c == 0
    return straight or swaps_sides(matrix)


def swaps_sides(matrix: DisplayMatrix) -> bool:
    """Whether height and width change places."""
    return matrix[0] == matrix[4] == 0 and abs(matrix[1]) == abs(matrix[3]) == _ONE


def upright(image: np.ndarray, matrix: DisplayMatrix | None) -> np.ndarray:
    """(H, W, 3) image as players show it; unchanged where the matrix is none or not right-angled."""
    if matrix is None or not is_right_angled(matrix):
        return image
    return np.ascontiguousarray(oriented(image, matrix))


def shown_size(info: VideoInfo) -> tuple[int, int]:
    """(height, width) in pixels of the images that `upright` gives."""
    if info.display_matrix is not None and swaps_sides(info.display_matrix):
        return info.width, info.height
    return info.height, info.width


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
