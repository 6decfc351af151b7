"""How much of the text in a frame can be read, where the optional package rapidocr is installed."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from fmanet_cli.dataset.byte_images import ByteImage
from fmanet_cli.errors import OptionError

SURE = 0.9
"""A line of the truth counts as readable from this confidence of its reader, 0 to 1."""

LEAST_CHARACTERS = 2
"""Shorter lines are as often a stain as text."""

_UPRIGHT_FROM = 1.5
"""A box this many times as high as wide holds a line that runs downwards."""


@dataclass(frozen=True, slots=True)
class TextRead:
    """Characters of one frame, or of many."""

    readable: int
    """Characters that can be read in the truth."""
    right: int
    """How many of them are read in the compared frame, by edit distance."""


@dataclass(frozen=True, slots=True, eq=False)
class TextLine:
    """A line of text in the truth."""

    corners: np.ndarray
    """(4, 2) float32: x and y of its corners in pixels, clockwise from the first letter's top left."""
    text: str
    """What it says, without spaces."""


class TextReader:
    """Finds lines in the truth and reads the same places of other frames, on the CPU.

    Raises OptionError where the packages rapidocr and onnxruntime are missing or cannot be loaded.
    """

    def __init__(self) -> None:
        if any(importlib.util.find_spec(name) is None for name in ("rapidocr", "onnxruntime")):
            raise OptionError('reading text needs the packages rapidocr and onnxruntime: pip install "fmanet-cli[ocr]"')
        try:
            from rapidocr import RapidOCR

            # Of each kind of answer its classes know another part.
            self._engine: Any = RapidOCR(params={"Global.log_level": "critical"})
        except (ImportError, OSError, RuntimeError) as error:
            raise OptionError(f"rapidocr cannot be loaded: {error}") from error

    def find(self, truth: ByteImage) -> list[TextLine]:
        """Return the lines of an (H, W, 3) RGB image that are read with confidence."""
        # The engine remembers its last switches, and gives another kind of answer where it finds nothing.
        found = self._engine(_bgr(truth), use_det=True, use_cls=False, use_rec=True)
        if getattr(found, "boxes", None) is None or found.txts is None:
            return []
        lines = (
            TextLine(np.asarray(corners, np.float32), "".join(text.split()))
            for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True)
            if score >= SURE
        )
        return [line for line in lines if len(line.text) >= LEAST_CHARACTERS]

    def read(self, image: ByteImage, lines: list[TextLine]) -> TextRead:
        """Read the places of `lines` in an (H, W, 3) RGB image and compare with what they say."""
        right = 0
        for line in lines:
            found = self._engine(_cut(_bgr(image), line.corners), use_det=False, use_cls=False, use_rec=True)
            text = "".join("".join(found.txts or ()).split())
            right += max(0, len(line.text) - edit_distance(line.text, text))
        return TextRead(readable=sum(len(line.text) for line in lines), right=right)


def edit_distance(a: str, b: str) -> int:
    """Return the least number of insertions, deletions and replacements of a character that make `a` to `b`."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (left != right))
    return row[-1]


def _bgr(image: ByteImage) -> ByteImage:
    return np.ascontiguousarray(image[..., ::-1])


def _cut(image: ByteImage, corners: np.ndarray) -> ByteImage:
    """Return what lies between four corners as an upright image."""
    width, height = (
        max(1, round(float(max(np.linalg.norm(corners[a] - corners[b]), np.linalg.norm(corners[c] - corners[d])))))
        for a, b, c, d in ((0, 1, 3, 2), (0, 3, 1, 2))
    )
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, target)
    upright = cv2.warpPerspective(
        image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.rot90(upright).copy() if height >= _UPRIGHT_FROM * width else upright
