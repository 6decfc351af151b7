"""Planes of rendered text: signs and print, sharp in the truth, for windows in which letters are to be read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fmanet_cli.errors import OptionError, TrainingError

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

FONT_SUFFIXES = (".ttf", ".otf", ".ttc")

_ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789",
    "αβγδεζηθικλμνξοπρστυφχψω",
    "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほ",
    "日月火水木金土山川田中大小上下左右入口出東西南北",
    "가나다라마바사아자차카타파하고노도로모보소오조",
)
_WORDS = (
    *("the", "and", "for", "with", "from", "open", "closed", "exit", "entrance", "street", "station", "north", "south"),
    *("market", "school", "bakery", "hotel", "bank", "parking", "one", "way", "stop", "caution", "private", "fresh"),
    *("coffee", "books", "repair", "museum", "platform", "ticket", "press", "pull", "push", "sale", "Monday", "Sunday"),
    *("morning", "evening", "river", "bridge", "garden", "letter", "number", "price", "total", "invoice", "page"),
)
_SUPERSAMPLING = 3
_PERSPECTIVE_DEGREES = 20.0
_CAP_HEIGHT = (16.0, 96.0)


@dataclass(frozen=True, slots=True, eq=False)
class TextPlane:
    """One plane of text, as large as a layer's texture; arrays are float32 in [0, 1]."""

    ink: np.ndarray
    """(P, P, 1): where letters cover."""
    panel: np.ndarray
    """(P, P, 1): where the sign around them covers."""
    colour: np.ndarray
    """(3,) RGB of the letters."""
    paper: np.ndarray
    """(3,) RGB of the sign."""


class TextPlanes:
    """Text in the fonts of a folder."""

    def __init__(self, folder: str | Path) -> None:
        """Find the fonts. Raises TrainingError if there are none and OptionError without Pillow."""
        try:
            from PIL import ImageFont
        except ImportError as error:
            raise OptionError(
                "text planes are drawn by Pillow, which is not installed; install fmanet-cli[train]"
            ) from error
        folder = Path(folder)
        if not folder.is_dir():
            raise TrainingError(f"{folder} is not a folder; give a folder of fonts")
        self.fonts = sorted(path for path in folder.iterdir() if path.suffix.lower() in FONT_SUFFIXES)
        if not self.fonts:
            raise TrainingError(f"no fonts in {folder}; it needs files ending in {', '.join(FONT_SUFFIXES)}")
        self._alphabets = [self._drawable(path) for path in self.fonts]
        self._loaded: dict[tuple[int, int], FreeTypeFont] = {}
        self._open = ImageFont.truetype

    def _drawable(self, path: Path) -> list[str]:
        """The alphabets that a font has letters for: those whose letters look different from one that no font has."""
        from PIL import ImageFont

        try:
            font = ImageFont.truetype(str(path), 20)
        except OSError as error:
            raise TrainingError(f"cannot read the font {path}: {error}; remove or replace it") from error
        missing = font.getmask("\uffff").getbbox(), bytes(font.getmask("\uffff"))
        return [
            alphabet
            for alphabet in _ALPHABETS
            if all((font.getmask(c).getbbox(), bytes(font.getmask(c))) != missing for c in (alphabet[0], alphabet[-1]))
        ]

    def draw(self, size: int, window: int, rng: np.random.Generator) -> TextPlane:
        """Draw 1 to 3 lines near the middle of a plane of `size` pixels, seen through a `window` of pixels.

        Letters are 16 to 96 pixels high (capitals; evenly on a logarithmic scale), of either polarity, with a contrast
        from 0.15 to 1, turned in space by up to 20 degrees.
        """
        from PIL import Image, ImageDraw

        number = int(rng.integers(len(self.fonts)))
        low, high = np.log(_CAP_HEIGHT[0]), np.log(min(_CAP_HEIGHT[1], window))
        height = math.exp(rng.uniform(low, high))
        font = self._font(number, round(height / 0.7 * _SUPERSAMPLING))
        text = "\n".join(self._line(self._alphabets[number], rng) for _ in range(int(rng.integers(1, 4))))
        side = size * _SUPERSAMPLING
        canvas = Image.new("L", (side, side))
        x, y = side / 2 + (rng.random(2) - 0.5) * window * _SUPERSAMPLING * 0.5
        pen = ImageDraw.Draw(canvas)
        pen.multiline_text((x, y), text, fill=255, font=font, anchor="mm", spacing=round(0.3 * font.size))
        left, top, right, bottom = pen.multiline_textbbox((x, y), text, font=font, anchor="mm", spacing=0.3 * font.size)
        border = 0.5 * height * _SUPERSAMPLING
        panel = np.zeros((side, side), np.uint8)
        panel[
            max(0, int(top - border)) : max(0, int(bottom + border)),
            max(0, int(left - border)) : max(0, int(right + border)),
        ] = 255
        colour, paper = _draw_colours(rng)
        ink, sign = _turned(np.stack([np.asarray(canvas), panel], -1), size, rng)
        return TextPlane(ink=ink * sign, panel=sign, colour=colour, paper=paper)

    def _font(self, number: int, pixels: int) -> FreeTypeFont:
        key = number, max(8, pixels // 8 * 8)
        if key not in self._loaded:
            self._loaded[key] = self._open(str(self.fonts[number]), key[1])
        return self._loaded[key]

    @staticmethod
    def _line(alphabets: list[str], rng: np.random.Generator) -> str:
        words = []
        for _ in range(int(rng.integers(1, 4))):
            if rng.random() < 0.4 and _ALPHABETS[0] in alphabets:
                words.append(str(rng.choice(_WORDS)))
            else:
                letters = alphabets[int(rng.integers(len(alphabets)))]
                words.append("".join(rng.choice(list(letters), int(rng.integers(1, 8)))))
        return " ".join(words)


def _draw_colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two RGB colours whose brightness differs by 0.15 to 1."""
    contrast = rng.uniform(0.15, 1.0)
    dark = rng.uniform(0, 1 - contrast)
    tint = rng.uniform(-0.15, 0.15, (2, 3))
    colours = np.clip(np.array([[dark], [dark + contrast]]) + tint, 0, 1).astype(np.float32)
    first, second = colours if rng.random() < 0.5 else colours[::-1]
    return first, second


def _turned(planes: np.ndarray, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Shrink supersampled (S, S, 2) uint8 planes to two (size, size, 1) float32 ones while turning them in space."""
    side = planes.shape[0]
    pan, tilt, roll = np.radians(rng.uniform(-_PERSPECTIVE_DEGREES, _PERSPECTIVE_DEGREES, 3))
    rotation = cv2.Rodrigues(np.array([tilt, 0.0, 0.0]))[0] @ cv2.Rodrigues(np.array([0.0, pan, 0.0]))[0]
    rotation = rotation @ cv2.Rodrigues(np.array([0.0, 0.0, roll]))[0]
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float64) @ rotation.T
    seen = corners[:, :2] * (3 / (3 + corners[:, 2:])) * side / 2 + side / 2
    source = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    turned = cv2.warpPerspective(planes, cv2.getPerspectiveTransform(source, seen.astype(np.float32)), (side, side))
    shrunk = cv2.resize(turned, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return shrunk[..., :1], shrunk[..., 1:]
