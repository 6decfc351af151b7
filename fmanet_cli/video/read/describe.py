"""Facts of an opened video, from its container and its first decoded frame."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np

from fmanet_cli.errors import OptionError
from fmanet_cli.video.frames import Chapter, DisplayMatrix, HdrMetadata, StatedColour, StreamInfo
from fmanet_cli.video.pixels.colour import (
    CHROMA_LOCATIONS,
    UNSPECIFIED,
    Colour,
    guessed_matrix,
    is_known_matrix,
    parse_colour,
)
from fmanet_cli.video.pixels.formats import pixel_layout
from fmanet_cli.video.read.length import frame_rate_of, stream_end_seconds, tagged_frame_count
from fmanet_cli.video.read.marks import side_data
from fmanet_cli.video.read.rational import to_fraction

_LIMITED_GREY_CODECS = {"h264", "hevc", "av1", "libdav1d", "vp9", "vp8"}
_CENTRE_CHROMA_CODECS = {"mjpeg", "mjpegb", "jpegls", "mpeg1video", "webp"}
_STILL_CODECS = {"mjpeg", "png", "bmp", "webp", "tiff", "jpeg2000"}
_INTERLACED_FIELD_ORDERS = {2, 3, 4, 5}
_IDENTITY_MATRIX = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)


@dataclass(frozen=True, slots=True)
class DeclaredTags:
    """Colour tags of the codec context before the first decode; decoders overwrite them."""

    matrix: int
    """H.273 code."""
    range: int
    """0 = not said, 1 = limited, 2 = full."""
    primaries: int
    """H.273 code."""
    transfer: int
    """H.273 code."""


def main_video_stream(container: av.container.InputContainer, requested: int | None = None) -> av.VideoStream | None:
    """The video stream to restore: the requested one, else the best as players choose it; None when there is none.

    Video comes before still images, then what is marked as default, then more pixels, then more frames.
    Raises OptionError when the requested stream is no video that can be decoded.
    """
    streams = [stream for stream in container.streams.video if stream.codec_context is not None]
    if requested is None:
        films = [stream for stream in streams if not is_cover(stream)]
        return max(films, key=_rank, default=None)
    for stream in streams:
        if stream.index == requested:
            return stream
    known = ", ".join(str(stream.index) for stream in streams) or "none"
    raise OptionError(f"stream {requested} is no video that can be decoded; video streams: {known}")


def _rank(stream: av.VideoStream) -> tuple[bool, bool, bool, int, int, int]:
    frames = stream.frames or tagged_frame_count(stream)
    end, rate = stream_end_seconds(stream), frame_rate_of(stream)
    if not frames and end is not None and rate is not None:
        frames = round(end * rate)
    is_still = frames == 1
    may_be_still = not frames and codec_name(stream) in _STILL_CODECS
    context = stream.codec_context
    is_default = bool(stream.disposition & av.stream.Disposition.default)
    return not is_still, is_default, not may_be_still, context.height * context.width, frames, -stream.index


def is_cover(stream: Any) -> bool:
    """Whether a video stream is a still image attached to the file."""
    still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    return stream.type == "video" and bool(stream.disposition & still)


def declared_tags(stream: av.VideoStream) -> DeclaredTags:
    """What the container says of the colours. Call before the first decode."""
    context = stream.codec_context
    return DeclaredTags(
        matrix=int(context.colorspace),
        range=int(context.color_range),
        primaries=int(context.color_primaries),
        transfer=int(context.color_trc),
    )


def stated_colour(frame: av.VideoFrame | None, declared: DeclaredTags) -> StatedColour:
    """The tags of a frame, and where it has none or is None those of the container; nothing is guessed."""
    value_range = int(frame.color_range) if frame is not None and int(frame.color_range) else declared.range
    if frame is not None and frame.format.name.startswith("yuvj"):
        value_range = 2
    return StatedColour(
        matrix=_stated(frame, "colorspace", declared.matrix),
        full_range=None if not value_range else value_range == 2,
        primaries=_stated(frame, "color_primaries", declared.primaries),
        transfer=_stated(frame, "color_trc", declared.transfer),
    )


def _stated(frame: av.VideoFrame | None, name: str, declared: int) -> int | None:
    own = int(getattr(frame, name)) if frame is not None else UNSPECIFIED
    # Matrix 0 is RGB, which says nothing of Y'CbCr; 0 elsewhere is reserved.
    return _first_said((own, declared), unset=(0, UNSPECIFIED))


def colour_of(
    frame: av.VideoFrame, *, declared: DeclaredTags, codec: str, requested: str = "auto"
) -> tuple[Colour, list[str]]:
    """What the pixels mean: what was requested, else the frame's tags, else the container's, else the usual guess.

    RGB frames get the colour that they are to be encoded with. The second value holds warnings.
    """
    warnings = []
    requested_matrix, requested_full = parse_colour(requested)
    layout = pixel_layout(frame.format.name)
    matrix = _first_said((int(frame.colorspace), declared.matrix), unset=(0, UNSPECIFIED))
    if requested_matrix is not None:
        matrix = requested_matrix
    elif layout.is_rgb:
        matrix = 1
    elif matrix is None:
        matrix = guessed_matrix(frame.height, frame.width)
    elif not is_known_matrix(matrix):
        fallback = 9 if matrix in (10, 13, 14, 15) else guessed_matrix(frame.height, frame.width)
        warnings.append(f"colour matrix {matrix} is not supported; the pixels are read and tagged with {fallback}")
        matrix = fallback
    color_range = _first_said((int(frame.color_range), declared.range), unset=(0,))
    if requested_full is not None:
        full_range = requested_full
    elif layout.is_rgb:
        full_range = False
    elif frame.format.name.startswith("yuvj"):
        full_range = True
    elif color_range is None:
        full_range = frame.format.name.startswith(("gray", "ya", "mono")) and codec not in _LIMITED_GREY_CODECS
    else:
        full_range = color_range == 2
    colour = Colour(
        matrix=matrix,
        full_range=full_range,
        primaries=_first_said((int(frame.color_primaries), declared.primaries), unset=(0, UNSPECIFIED)) or UNSPECIFIED,
        transfer=_first_said((int(frame.color_trc), declared.transfer), unset=(0, UNSPECIFIED)) or UNSPECIFIED,
        chroma_location=_chroma_location(frame, codec),
    )
    return colour, warnings


def _first_said(values: Iterable[int], unset: tuple[int, ...]) -> int | None:
    return next((value for value in values if value not in unset), None)


def _chroma_location(frame: av.VideoFrame, codec: str) -> str:
    said = int(getattr(frame, "chroma_location", 0))
    if 0 < said < len(CHROMA_LOCATIONS):
        return CHROMA_LOCATIONS[said]
    if codec == "dvvideo" and frame.format.name == "yuv420p":
        return "top-left"
    return "centre" if codec in _CENTRE_CHROMA_CODECS else "left"


def display_matrix_of(frame: av.VideoFrame) -> DisplayMatrix | None:
    """Rotation and flips of a decoded frame without its shift; None when shown as coded."""
    data = _content(frame, "DISPLAYMATRIX")
    if data is None:
        # Where `side_data` has nothing to give PyAV knows the angle all the same, though not whether it is mirrored.
        angle = math.radians(frame.rotation)
        cosine, sine = round(math.cos(angle) * 65536), round(math.sin(angle) * 65536)
        numbers = [cosine, -sine, 0, sine, cosine, 0, 0, 0, 1 << 30]
    else:
        numbers = [int(number) for number in np.frombuffer(data, "<i4")]
    matrix = (*numbers[:6], 0, 0, numbers[8])
    return None if matrix == _IDENTITY_MATRIX else cast(DisplayMatrix, matrix)


def hides_mirroring(frame: av.VideoFrame) -> bool:
    """Whether of the frame's orientation the angle alone can be read, as where EXIF says it."""
    return frame.rotation != 0 and _content(frame, "DISPLAYMATRIX") is None


def hdr_metadata_of(frames: Iterable[av.VideoFrame]) -> HdrMetadata | None:
    """Static HDR metadata of the first frames; several, because FFmpeg 9 may leave an item out of the first one."""
    mastering: bytes | None = None
    light: bytes | None = None
    for frame in frames:
        mastering = mastering or _content(frame, "MASTERING_DISPLAY_METADATA")
        light = light or _content(frame, "CONTENT_LIGHT_LEVEL")
    if mastering is None and light is None:
        return None
    primaries, luminance, content_light = None, None, None
    if mastering is not None:
        *pairs, has_primaries, has_luminance = struct.unpack("<22i", mastering[:88])
        numbers = [Fraction(n, d) if d else Fraction(0) for n, d in zip(pairs[::2], pairs[1::2], strict=True)]
        primaries = tuple(numbers[:8]) if has_primaries else None
        luminance = (numbers[8], numbers[9]) if has_luminance else None
    if light is not None:
        content_light = cast(tuple[int, int], struct.unpack("<2I", light[:8]))
    return HdrMetadata(primaries=primaries, luminance=luminance, content_light=content_light)


def _content(frame: av.VideoFrame, kind: str) -> bytes | None:
    return next((bytes(content) for name, content in side_data(frame) if name == kind), None)


def is_interlaced(frame: av.VideoFrame, stream: av.VideoStream) -> bool:
    """Whether the frame or its stream is flagged as woven from two fields."""
    if frame.interlaced_frame:
        return True
    return int(getattr(stream.codec_context, "field_order", 0) or 0) in _INTERLACED_FIELD_ORDERS


def stream_infos(container: av.container.InputContainer) -> tuple[StreamInfo, ...]:
    """All streams of a container."""
    return tuple(
        StreamInfo(
            index=stream.index,
            kind=stream.type or "unknown",
            codec=codec_name(stream),
            language=stream.metadata.get("language", ""),
            title=stream_title(stream),
            is_cover=is_cover(stream),
        )
        for stream in container.streams
    )


def chapters_of(container: av.container.InputContainer) -> tuple[Chapter, ...]:
    """Chapters of a container in their order."""
    chapters = []
    for chapter in container.chapters():
        base = to_fraction(chapter["time_base"])
        if base is not None:
            start, end = chapter["start"] * base, chapter["end"] * base
            chapters.append(Chapter(chapter["id"], Fraction(start), Fraction(end), dict(chapter["metadata"])))
    return tuple(chapters)


def kept_stream_metadata(container: av.container.InputContainer, stream: av.VideoStream) -> dict[str, str]:
    """Tags of the video stream that stay true for a restored copy; a time code may be on its own track."""
    kept = kept_marks(stream)
    codes = [s.metadata["timecode"] for s in (stream, *container.streams) if "timecode" in s.metadata]
    return kept | ({"timecode": codes[0]} if codes else {})


def kept_marks(stream: Any) -> dict[str, str]:
    """Language, title and handler name of a stream; MP4 calls the title a name."""
    kept = {key: value for key, value in stream.metadata.items() if key in ("language", "title", "handler_name")}
    return kept | ({"title": title} if (title := stream_title(stream)) else {})


def stream_title(stream: Any) -> str:
    """Title of a stream, or the file name of an attachment; empty when it has none."""
    titles = (stream.metadata.get(key, "") for key in ("title", "name", "filename"))
    return next((title for title in titles if title), "")


def codec_name(stream: Any) -> str:
    """Name of a stream's codec, independent of which decoder is used; empty when unknown."""
    context = getattr(stream, "codec_context", None)
    if context is None:
        return ""
    return {"libdav1d": "av1", "libvpx-vp9": "vp9", "libvpx": "vp8"}.get(context.name, context.name)
