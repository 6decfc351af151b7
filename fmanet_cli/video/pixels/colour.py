"""Colour description of a video, and exact conversion between Y'CbCr planes and RGB."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fmanet_cli.errors import OptionError

UNSPECIFIED = 2
"""ITU-T H.273 code for "not said", of matrix, primaries and transfer alike."""

_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
"""H.273 matrix code -> weights of red and blue in luma."""

_NAMED_MATRIX = {"bt601": 6, "bt709": 1, "bt2020": 9, "smpte240m": 7, "fcc": 4}

CHROMA_LOCATIONS = ("unspecified", "left", "centre", "top-left", "top", "bottom-left", "bottom")
"""Where a chroma sample lies among its luma samples; the position in this tuple is FFmpeg's code."""

STRIP_ROWS = 128
"""Rows that are converted together, so that intermediate results stay in the processor's cache; even."""

STRIP_MARGIN_ROWS = 4
"""Rows beside a strip that its chroma filter needs; even."""

_HALVING_CENTRE_TAPS = (-1, 0, 9, 16, 9, 0, -1)
_HALVING_BETWEEN_TAPS = (-3, 5, 30, 30, 5, -3)


@dataclass(frozen=True, slots=True)
class Colour:
    """What the code values of a video mean, in the code points of ITU-T H.273."""

    matrix: int
    """Matrix coefficients: 1 = BT.709, 5 and 6 = BT.601, 9 = BT.2020; always a matrix that is known here."""
    full_range: bool
    """True where black is code 0 and white the largest code; False for 16..235 at 8 bits."""
    primaries: int = UNSPECIFIED
    """Colour primaries; carried, not converted."""
    transfer: int = UNSPECIFIED
    """Transfer characteristics; carried, not converted (16 = PQ, 18 = HLG)."""
    chroma_location: str = "left"
    """One of `CHROMA_LOCATIONS`."""

    def __post_init__(self) -> None:
        if not is_known_matrix(self.matrix):
            raise OptionError(f"colour matrix {self.matrix} is not supported; use one of {sorted(_LUMA_WEIGHTS)}")
        if self.chroma_location not in CHROMA_LOCATIONS:
            raise OptionError(f"chroma_location must be one of {CHROMA_LOCATIONS}, got {self.chroma_location!r}")


Planes = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Luma, Cb and Cr codes, (H, W) each, chroma smaller where it is subsampled; uint8 for 8 bits, uint16 for more."""

ImageOrPlanes = np.ndarray | Planes
"""What can be encoded: (H, W, 3) float32 RGB in [0, 1], or planes."""


@dataclass(frozen=True, slots=True)
class PlaneFormat:
    """Which codes an encoder takes."""

    colour: Colour
    """What they mean."""
    bits: int
    """Of each sample, from 8 to 16."""
    horizontal_shift: int
    """log2 of luma width / chroma width, 0 or 1."""
    vertical_shift: int
    """log2 of luma height / chroma height, 0 or 1."""

    def __post_init__(self) -> None:
        if not 8 <= self.bits <= 16:
            raise ValueError(f"bits must be from 8 to 16, got {self.bits}")
        if {self.horizontal_shift, self.vertical_shift} - {0, 1}:
            raise ValueError(f"shifts must be 0 or 1, got {self.horizontal_shift} and {self.vertical_shift}")

    @property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """Of the planes."""
        return np.uint8 if self.bits == 8 else np.uint16

    def shapes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """(height, width) of each plane of an image."""
        rows = (height + self.vertical_shift) >> self.vertical_shift
        columns = (width + self.horizontal_shift) >> self.horizontal_shift
        return (height, width), (rows, columns), (rows, columns)


def is_known_matrix(matrix: int) -> bool:
    """Whether a H.273 matrix code can be converted to and from RGB."""
    return matrix in _LUMA_WEIGHTS


def guessed_matrix(height: int, width: int) -> int:
    """The usual matrix of an untagged image: BT.709 from 720 lines or 1280 columns, else BT.601."""
    if height >= 720 or width >= 1280:
        return 1
    return 5 if height in (288, 576) else 6


def parse_colour(text: str) -> tuple[int | None, bool | None]:
    """Read `auto`, `bt709`, `bt601-full`, `limited` ... as (matrix, full range); None where nothing is said."""
    matrix, full_range = None, None
    for word in text.lower().split("-"):
        if word in _NAMED_MATRIX and matrix is None:
            matrix = _NAMED_MATRIX[word]
        elif word in ("full", "limited") and full_range is None:
            full_range = word == "full"
        elif word != "auto":
            raise OptionError(
                f"colour {text!r} is not known; use auto or one of {', '.join(_NAMED_MATRIX)}, with -full or -limited"
            )
    return matrix, full_range


def luma_weights(matrix: int) -> tuple[float, float]:
    """Weights of red and blue in luma; green has the rest."""
    return _LUMA_WEIGHTS[matrix]


@functools.cache
def rgb_to_ycbcr_matrix(matrix: int) -> np.ndarray:
    """(3, 3) float64: R'G'B' in [0, 1] to Y' in [0, 1] and Cb, Cr in [-0.5, 0.5] (ITU-T H.273, 8.3)."""
    red, blue = luma_weights(matrix)
    luma = np.array([red, 1 - red - blue, blue])
    return np.stack([luma, ([0, 0, 1] - luma) / (2 * (1 - blue)), ([1, 0, 0] - luma) / (2 * (1 - red))])


@functools.cache
def _ycbcr_to_rgb_matrix(matrix: int) -> np.ndarray:
    return np.linalg.inv(rgb_to_ycbcr_matrix(matrix)).astype(np.float32)


@functools.cache
def code_scale(bits: int, *, full_range: bool) -> tuple[float, float, float, float]:
    """Luma offset, luma span, chroma offset and chroma span of integer codes with `bits` bits."""
    if full_range:
        largest = float((1 << bits) - 1)
        return 0.0, largest, float(1 << (bits - 1)), largest
    unit = float(1 << (bits - 8))
    return 16 * unit, 219 * unit, 128 * unit, 224 * unit


def planes_to_rgb(planes: Sequence[np.ndarray], *, colour: Colour, bits: int) -> np.ndarray:
    """Turn Y'CbCr planes into RGB.

    planes: (H, W) luma and two chroma planes of any whole subsampling, or luma alone, unsigned integers.
    Returns (H, W, 3) float32 RGB in [0, 1]; codes outside that range are clipped.
    """
    height, width = planes[0].shape
    luma_offset, luma_span, chroma_offset, chroma_span = code_scale(bits, full_range=colour.full_range)
    luma = (planes[0].astype(np.float32) - np.float32(luma_offset)) * np.float32(1 / luma_span)
    rgb = np.empty((height, width, 3), np.float32)
    if len(planes) == 1:
        rgb[:] = luma[..., None]
        return np.clip(rgb, 0, 1, out=rgb)
    horizontal, vertical = chroma_offsets(colour.chroma_location)
    chroma = []
    for plane in planes[1:]:
        centred = (plane.astype(np.float32) - np.float32(chroma_offset)) * np.float32(1 / chroma_span)
        chroma.append(_enlarged(_enlarged(centred, 0, height, vertical), 1, width, horizontal))
    for channel, (_, from_cb, from_cr) in enumerate(_ycbcr_to_rgb_matrix(colour.matrix)):
        total = luma + from_cb * chroma[0] if abs(from_cb) > 1e-7 else luma.copy()
        if abs(from_cr) > 1e-7:
            total += from_cr * chroma[1]
        np.clip(total, 0, 1, out=rgb[..., channel])
    return rgb


def rgb_to_planes(
    rgb: np.ndarray, *, colour: Colour, bits: int, horizontal_shift: int, vertical_shift: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn RGB into Y'CbCr planes.

    rgb: (H, W, 3) float32 RGB; values outside [0, 1] are clipped. A shift of 1 halves the chroma size (rounded up), 0
    keeps it. Returns uint8 planes for 8 bits and uint16 planes for more.
    """
    height, width = rgb.shape[:2]
    kind = np.uint8 if bits == 8 else np.uint16
    luma = np.empty((height, width), kind)
    chroma = np.empty(
        (2, (height + vertical_shift) >> vertical_shift, (width + horizontal_shift) >> horizontal_shift), kind
    )
    for top in range(0, height, STRIP_ROWS):
        bottom = min(top + STRIP_ROWS, height)
        first, last = max(0, top - STRIP_MARGIN_ROWS), min(height, bottom + STRIP_MARGIN_ROWS)
        strip_luma, *strip_chroma = _strip_codes(
            rgb[first:last], colour=colour, bits=bits, horizontal_shift=horizontal_shift, vertical_shift=vertical_shift
        )
        luma[top:bottom] = strip_luma[top - first : bottom - first]
        chroma_top, chroma_bottom = top >> vertical_shift, (bottom + vertical_shift) >> vertical_shift
        skipped = (top - first) >> vertical_shift
        for target, codes in zip(chroma, strip_chroma, strict=True):
            target[chroma_top:chroma_bottom] = codes[skipped : skipped + chroma_bottom - chroma_top]
    return luma, chroma[0], chroma[1]


def _strip_codes(
    rgb: np.ndarray, *, colour: Colour, bits: int, horizontal_shift: int, vertical_shift: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    luma_offset, luma_span, chroma_offset, chroma_span = code_scale(bits, full_range=colour.full_range)
    red_weight, blue_weight = luma_weights(colour.matrix)
    red, green, blue = (np.clip(rgb[..., channel], 0, 1) for channel in range(3))
    luma = red * np.float32(red_weight)
    luma += blue * np.float32(blue_weight)
    luma += np.multiply(green, np.float32(1 - red_weight - blue_weight), out=green)
    horizontal, vertical = chroma_offsets(colour.chroma_location)
    chroma = []
    for channel, weight in ((blue, blue_weight), (red, red_weight)):
        difference = np.subtract(channel, luma, out=channel)
        reduced = _reduced(_reduced(difference, 0, vertical_shift, vertical), 1, horizontal_shift, horizontal)
        reduced *= np.float32(chroma_span / (2 * (1 - weight)))
        chroma.append(_codes(reduced, chroma_offset, bits))
    luma *= np.float32(luma_span)
    return _codes(luma, luma_offset, bits), chroma[0], chroma[1]


def _codes(values: np.ndarray, offset: float, bits: int) -> np.ndarray:
    """Round to integer codes; `values` is overwritten."""
    values += np.float32(offset + 0.5)
    np.clip(values, 0, (1 << bits) - 0.5, out=values)
    return values.astype(np.uint8 if bits == 8 else np.uint16)


@functools.cache
def chroma_offsets(location: str) -> tuple[float, float]:
    """Where a chroma sample lies inside its cell, as (horizontal, vertical) fractions: 0 first, 0.5 middle, 1 last."""
    horizontal = 0.5 if location in ("centre", "top", "bottom") else 0.0
    vertical = 0.0 if location.startswith("top") else 1.0 if location.startswith("bottom") else 0.5
    return horizontal, vertical


def halving_taps(offset: float) -> tuple[int, ...]:
    """The filter that halves an axis, symmetric; to be divided by its sum. `offset`: one of `chroma_offsets`."""
    return _HALVING_BETWEEN_TAPS if offset == 0.5 else _HALVING_CENTRE_TAPS


def _enlarged(plane: np.ndarray, axis: int, length: int, offset: float) -> np.ndarray:
    """Cubic (Catmull-Rom) interpolation along one axis to `length` samples."""
    factor, count = 1, plane.shape[axis]
    while count * factor < length:
        factor *= 2
    if factor == 1:
        return plane
    shape = list(plane.shape)
    shape[axis] = count * factor
    enlarged = np.empty(shape, np.float32)
    # Views with the axis in front; nothing is moved.
    samples, padded = enlarged.swapaxes(0, axis), _extended(plane, axis, 2, 2).swapaxes(0, axis)
    for phase in range(factor):
        position = (phase - offset * (factor - 1)) / factor
        first = int(np.floor(position)) + 1
        weights = _cubic_weights(float(position - np.floor(position)))
        total = np.zeros_like(plane).swapaxes(0, axis)
        for k, weight in enumerate(weights):
            if weight:
                total += weight * padded[first + k : first + k + count]
        samples[phase::factor] = total
    return samples[:length].swapaxes(0, axis)


@functools.cache
def _cubic_weights(t: float) -> tuple[np.float32, ...]:
    weights = (
        -0.5 * t + t**2 - 0.5 * t**3,
        1 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t + 2 * t**2 - 1.5 * t**3,
        -0.5 * t**2 + 0.5 * t**3,
    )
    return tuple(np.float32(w) for w in weights)


def _reduced(plane: np.ndarray, axis: int, shift: int, offset: float) -> np.ndarray:
    """Halve one axis with a filter that is flat at low frequencies and zero at the highest one."""
    if not shift:
        return plane
    taps = halving_taps(offset)
    count = (plane.shape[axis] + 1) // 2
    before = 3 if offset == 0.0 else 2
    after = 2 * count - plane.shape[axis] + 4
    padded = _extended(plane, axis, before, after)
    # Steps of 2 along a row are slow to read, so they are read once.
    halves = [np.ascontiguousarray(padded[start::2] if axis == 0 else padded[:, start::2]) for start in (0, 1)]
    samples = [halves[k % 2].swapaxes(0, axis)[k // 2 : k // 2 + count].swapaxes(0, axis) for k in range(len(taps))]
    scaled = np.array(taps, np.float32) / np.float32(sum(taps))
    middle = len(taps) // 2
    reduced = samples[middle] * scaled[middle] if len(taps) % 2 else np.zeros_like(samples[0])
    for k in range(middle):
        if taps[k]:
            pair = samples[k] + samples[len(taps) - 1 - k]
            pair *= scaled[k]
            reduced += pair
    return reduced


def _extended(plane: np.ndarray, axis: int, before: int, after: int) -> np.ndarray:
    """More samples at both ends of an axis that go on rising or falling, so that chroma does not bend at the border."""
    count = plane.shape[axis]
    if count <= max(before, after):
        widths = [(0, 0), (0, 0)]
        widths[axis] = before, after
        return np.pad(plane, widths, mode="reflect", reflect_type="odd")
    shape = list(plane.shape)
    shape[axis] += before + after
    extended = np.empty(shape, np.float32)
    # Views with the axis in front; nothing is moved.
    samples, inner = extended.swapaxes(0, axis), plane.swapaxes(0, axis)
    samples[before : before + count] = inner
    samples[:before] = 2 * inner[:1] - inner[before:0:-1]
    stop = count - 2 - after
    samples[before + count :] = 2 * inner[-1:] - inner[count - 2 : stop if stop >= 0 else None : -1]
    return extended
