"""Labelled sheets of images: boxes side by side and one below the other, as one array."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

PAPER = np.float32(246 / 255)
INK = (30, 33, 38)
GAP = 12
"""Pixels around and between boxes."""
TEXT_HEIGHT = 22
"""Of one line of a label."""

_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.5
_PLAIN = str.maketrans({"×": "x", "–": "-", "—": "-", "²": "2", "°": " deg", "→": "->"})


def text_lines(lines: Sequence[str], width: int | None = None) -> np.ndarray:
    """Text as a box of (lines * TEXT_HEIGHT, width, 3); letters the font lacks become question marks."""
    plain = [line.translate(_PLAIN).encode("ascii", "replace").decode() for line in lines]
    needed = max((cv2.getTextSize(line, _FONT, _FONT_SCALE, 1)[0][0] for line in plain), default=0) + 2
    box = np.full((TEXT_HEIGHT * len(plain), max(needed, width or 0), 3), round(255 * PAPER), dtype=np.uint8)
    for number, line in enumerate(plain):
        place = (0, TEXT_HEIGHT * number + TEXT_HEIGHT - 7)
        cv2.putText(box, line, place, _FONT, _FONT_SCALE, INK, 1, cv2.LINE_AA)
    return box / np.float32(255)


def labelled(image: np.ndarray, *lines: str) -> np.ndarray:
    """An (H, W, 3) or (H, W) image in [0, 1] with lines of text above it."""
    coloured = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    return below([text_lines(lines, coloured.shape[1]), coloured], gap=2)


def beside(boxes: Sequence[np.ndarray], *, gap: int = GAP) -> np.ndarray:
    """Boxes from left to right, aligned at the top."""
    height = max(box.shape[0] for box in boxes)
    parts = [_padded(box, height, box.shape[1] + (gap if index else 0)) for index, box in enumerate(boxes)]
    return np.concatenate(parts, axis=1)


def below(boxes: Sequence[np.ndarray], *, gap: int = GAP) -> np.ndarray:
    """Boxes from top to bottom, aligned at the left."""
    width = max(box.shape[1] for box in boxes)
    parts = []
    for index, box in enumerate(boxes):
        space = np.full((gap if index else 0, width, 3), PAPER, dtype=np.float32)
        wide = np.full((box.shape[0], width, 3), PAPER, dtype=np.float32)
        wide[:, : box.shape[1]] = box
        parts += [space, wide]
    return np.concatenate(parts, axis=0)


def framed(box: np.ndarray) -> np.ndarray:
    """A box with a margin on all sides."""
    return np.pad(box, ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=PAPER)


def at_width(image: np.ndarray, width: int, *, blocky: bool = False) -> np.ndarray:
    """An image scaled to a width, its shape kept; `blocky` shows every pixel as a square."""
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    smaller = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
    scaled = cv2.resize(
        np.ascontiguousarray(image, dtype=np.float32),
        (width, height),
        interpolation=cv2.INTER_NEAREST if blocky else smaller,
    )
    return np.clip(scaled, 0, 1)


def _padded(box: np.ndarray, height: int, width: int) -> np.ndarray:
    """At the bottom and at the left."""
    wide = np.full((height, width, 3), PAPER, dtype=np.float32)
    wide[: box.shape[0], width - box.shape[1] :] = box
    return wide
