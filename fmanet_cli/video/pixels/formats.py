"""PyAV frames to RGB arrays and back, without swscale's colour conversion."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import av
import numpy as np

from fmanet_cli.errors import OptionError
from fmanet_cli.video.pixels.colour import Colour, PlaneFormat, Planes, planes_to_rgb, rgb_to_planes

_PLANAR_YUV = re.compile(r"yuv[aj]?(4\d\d)p(\d+)?(le|be)?$")
_GREY = re.compile(r"(gray|ya)(\d+)?(le|be)?$")
_PLANAR_RGB = re.compile(r"gbra?p(\d+)?(le|be)?$")
_PACKED_RGB = re.compile(r"([argb0]{3,4})(24|48|64)?(le|be)?$")
_FLOATS = re.compile(r"f(16|32)(le|be)?$")
_GREY_BITS = (8, 9, 10, 12, 14, 16)
_SEMI_PLANAR = re.compile(r"(nv12|p010le)$")

_CHROMA_SHIFTS = {"444": (0, 0), "422": (1, 0), "420": (1, 1), "440": (0, 1), "411": (2, 0), "410": (2, 2)}
_SHIFT_NAMES = {shifts: name for name, shifts in _CHROMA_SHIFTS.items()}


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """Depth and subsampling of a pixel format."""

    bits: int
    """Of the deepest component that is not alpha, between 8 and 16."""
    horizontal_shift: int
    """log2 of luma width / chroma width."""
    vertical_shift: int
    """log2 of luma height / chroma height."""
    is_rgb: bool
    """Whether the components are red, green and blue."""
    has_alpha: bool
    """Whether there is an alpha component."""


@dataclass(frozen=True, slots=True)
class _Storage:
    """Where the wanted samples of a pixel format lie."""

    kind: Literal["luma and chroma", "planar rgb", "packed rgb"]
    bits: int
    """Of each sample."""
    dtype: np.dtype
    """With the byte order."""
    wanted: tuple[int, ...]
    """Numbers of the planes in the order of use; of the components, where one plane has all."""
    components: int = 1
    """Samples of a pixel that lie beside each other in a plane."""


@functools.cache
def pixel_layout(format_name: str) -> PixelLayout:
    """Layout of one of FFmpeg's pixel formats; palettes count as RGB with alpha."""
    pixel_format = av.VideoFormat(format_name, 16, 16)
    if format_name == "pal8":
        return PixelLayout(8, 0, 0, is_rgb=True, has_alpha=True)
    colours = [c for c in pixel_format.components if not c.is_alpha]
    chroma = [c for c in colours if c.is_chroma]
    horizontal, vertical = 0, 0
    if chroma:
        horizontal = (16 // chroma[0].width).bit_length() - 1
        vertical = (16 // chroma[0].height).bit_length() - 1
    return PixelLayout(
        bits=min(max(8, *(c.bits for c in colours), 0), 16),
        horizontal_shift=horizontal,
        vertical_shift=vertical,
        is_rgb=pixel_format.is_rgb,
        has_alpha=any(c.is_alpha for c in pixel_format.components),
    )


@functools.cache
def holds_floats(format_name: str) -> bool:
    """Whether a pixel format has floating-point numbers, as of EXR and PFM files."""
    return _FLOATS.search(format_name) is not None


def pixels_without_number(frame: av.VideoFrame) -> int:
    """How many pixels of a frame of floating-point numbers are NaN or infinite."""
    match = _FLOATS.search(frame.format.name)
    if match is None:
        return 0
    kind = np.dtype(f"{'>' if match[2] == 'be' else '<'}f{int(match[1]) // 8}")
    broken = np.zeros((frame.height, frame.width), bool)
    components = len(frame.format.components) if len(frame.planes) == 1 else 1
    for plane in frame.planes:
        rows = np.frombuffer(cast(Any, plane), kind).reshape(plane.height, plane.line_size // kind.itemsize)
        values = rows[:, : frame.width * components].reshape(frame.height, frame.width, components)
        broken |= ~np.isfinite(values).all(axis=2)
    return int(broken.sum())


def frame_to_rgb(frame: av.VideoFrame, colour: Colour) -> np.ndarray:
    """(H, W, 3) float32 RGB in [0, 1] of any decoded frame; alpha is left out.

    Matrix, range and chroma location come from `colour`, not from the frame; RGB frames ignore all three.
    """
    storage, planes = _storage_of(frame.format.name), frame.planes
    if storage is None or min([plane.line_size for plane in planes]) <= 0:
        frame = _repacked(frame)
        storage, planes = _storage_of(frame.format.name), frame.planes
        assert storage is not None
    bits, wanted, components = storage.bits, storage.wanted, storage.components
    if storage.kind == "packed rgb":
        packed = _samples(planes[0], storage.dtype, components).reshape(frame.height, frame.width, -1)
        return _scaled(packed[..., list(wanted)], bits)
    samples = [_samples(planes[number], storage.dtype, components)[:, ::components] for number in wanted]
    if storage.kind == "planar rgb":
        return _scaled(np.stack(samples, axis=-1), bits)
    return planes_to_rgb(samples, colour=colour, bits=bits)


def smallest_alpha(frame: av.VideoFrame) -> float:
    """Smallest alpha of a frame in [0, 1]; 1 for formats without alpha."""
    if not any(component.is_alpha for component in frame.format.components) and frame.format.name != "pal8":
        return 1.0
    return float(frame.reformat(format="rgba", threads=1).to_ndarray()[..., 3].min()) / 255


def rgb_to_frame(
    rgb: np.ndarray, format_name: str, colour: Colour, *, into: av.VideoFrame | None = None
) -> av.VideoFrame:
    """Turn (H, W, 3) float32 RGB into a frame of a pixel format that the writer offers; values are clipped to [0, 1].

    into: a writable frame of that size and format, whose pixels are written over; None = a new one.

    Raises OptionError for a pixel format that cannot be made here.
    """
    plane_format = plane_format_of(format_name, colour)
    if plane_format is not None:
        planes = rgb_to_planes(
            rgb,
            colour=colour,
            bits=plane_format.bits,
            horizontal_shift=plane_format.horizontal_shift,
            vertical_shift=plane_format.vertical_shift,
        )
        return planes_to_frame(planes, format_name, colour, into=into)
    if match := _PLANAR_RGB.match(format_name):
        codes = _rgb_codes(rgb, int(match[1] or 8))
        return _filled_frame([codes[..., channel] for channel in (1, 2, 0)], format_name, colour, into=into)
    if format_name in ("rgb24", "rgb48be", "rgb48le"):
        codes = _rgb_codes(rgb, 8 if format_name == "rgb24" else 16).reshape(rgb.shape[0], -1)
        codes = codes.astype(">u2") if format_name.endswith("be") else codes
        return _filled_frame([codes], format_name, colour, width=rgb.shape[1], into=into)
    raise OptionError(f"pixel format {format_name} cannot be written; use for example yuv420p or yuv420p10le")


def plane_format_of(format_name: str, colour: Colour) -> PlaneFormat | None:
    """The planes of a pixel format; None where it has other components than luma, Cb and Cr.

    Raises OptionError for a subsampling that cannot be made here.
    """
    if not (_PLANAR_YUV.match(format_name) or _SEMI_PLANAR.match(format_name)):
        return None
    layout = pixel_layout(format_name)
    if max(layout.horizontal_shift, layout.vertical_shift) > 1:
        raise OptionError(f"pixel format {format_name} cannot be written; use 4:2:0, 4:2:2 or 4:4:4")
    return PlaneFormat(colour, layout.bits, layout.horizontal_shift, layout.vertical_shift)


def planes_to_frame(
    planes: Planes, format_name: str, colour: Colour, *, into: av.VideoFrame | None = None
) -> av.VideoFrame:
    """Put planes as `plane_format_of` asks for them into a frame; into: as of `rgb_to_frame`."""
    luma, *chroma = planes
    if not _SEMI_PLANAR.match(format_name):
        return _filled_frame(planes, format_name, colour, into=into)
    packed = np.stack(chroma, axis=-1).reshape(chroma[0].shape[0], -1)
    # P010 has its ten bits in the upper part of sixteen.
    shifted = [luma, packed] if luma.dtype == np.uint8 else [luma << 6, packed << 6]
    return _filled_frame(shifted, format_name, colour, into=into)


def _filled_frame(
    planes: Sequence[np.ndarray],
    format_name: str,
    colour: Colour,
    *,
    into: av.VideoFrame | None,
    width: int | None = None,
) -> av.VideoFrame:
    """`width`: of the image, where the first plane has several components for each pixel."""
    frame = into or av.VideoFrame(width or planes[0].shape[1], planes[0].shape[0], format_name)
    for number, plane in enumerate(planes):
        target = frame.planes[number]
        rows = np.frombuffer(cast(Any, target), np.uint8).reshape(-1, abs(target.line_size))
        data = np.ascontiguousarray(plane).view(np.uint8).reshape(plane.shape[0], -1)
        rows[: data.shape[0], : data.shape[1]] = data
    frame.colorspace = colour.matrix
    frame.color_range = 2 if colour.full_range else 1
    frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
    return frame


def _rgb_codes(rgb: np.ndarray, bits: int) -> np.ndarray:
    largest = (1 << bits) - 1
    return (np.clip(rgb, 0, 1) * np.float32(largest) + np.float32(0.5)).astype(np.uint8 if bits == 8 else np.uint16)


def _scaled(codes: np.ndarray, bits: int) -> np.ndarray:
    return codes.astype(np.float32) * np.float32(1 / ((1 << bits) - 1))


def _samples(plane: Any, dtype: np.dtype, components: int) -> np.ndarray:
    """The samples of a plane without what fills up its lines."""
    rows = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)
    return rows[: plane.height, : plane.width * components]


@functools.cache
def _storage_of(name: str) -> _Storage | None:
    """How a pixel format is read; None where it has to be repacked."""
    if match := _PLANAR_YUV.match(name):
        bits = int(match[2] or 8)
        return _Storage("luma and chroma", bits, _dtype(bits, match[3]), (0, 1, 2))
    if (match := _GREY.match(name)) and (bits := int(match[2] or 8)) in _GREY_BITS:
        return _Storage("luma and chroma", bits, _dtype(bits, match[3]), (0,), 2 if match[1] == "ya" else 1)
    if match := _PLANAR_RGB.match(name):
        bits = int(match[1] or 8)
        return _Storage("planar rgb", bits, _dtype(bits, match[2]), (2, 0, 1))
    if (match := _PACKED_RGB.match(name)) and {"r", "g", "b"} <= set(name):
        bits, letters = 16 if match[2] in ("48", "64") else 8, match[1]
        order = tuple(letters.index(letter) for letter in "rgb")
        return _Storage("packed rgb", bits, _dtype(bits, match[3]), order, len(letters))
    return None


def _dtype(bits: int, byte_order: str | None) -> np.dtype:
    return np.dtype(np.uint8 if bits <= 8 else ">u2" if byte_order == "be" else "<u2")


def _repacked(frame: av.VideoFrame) -> av.VideoFrame:
    """Rare layouts (palettes, interleaved or semi-planar chroma, floats) in a common one; code values stay as they are.

    Raises ValueError where there is no other one.
    """
    name = frame.format.name
    layout = pixel_layout(name)
    deep = layout.bits > 8
    if layout.is_rgb:
        target = "gbrp16le" if deep else "rgba"
    elif name.startswith(("gray", "mono")):
        target = "gray16le" if deep else "gray"
    else:
        shifts = layout.horizontal_shift, layout.vertical_shift
        target = f"yuv{_SHIFT_NAMES[shifts]}p{f'{layout.bits}le' if deep else ''}"
    if target == name:
        raise ValueError(f"a {name} frame with its rows upside down cannot be read")
    # The thread pool of swscale has been seen to mix up rows of small frames.
    return frame.reformat(format=target, threads=1)
