"""What a recording says beside its pixels: captions, dynamic HDR, 360 degree and stereo marks, a clean aperture."""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import av
import av.logging

from fmanet_cli.errors import OptionError, VideoReadError
from fmanet_cli.video.frames import Crop, VideoMarks

DOLBY_VISION_WAYS = ("refuse", "ignore")
"""What becomes of a Dolby Vision stream whose base layer has no usual colours."""

_STEREO_NAMES = (
    "", "side by side", "top and bottom", "frame alternate", "checkerboard", "side by side (quincunx subsampling)",
    "interleaved lines", "interleaved columns", "unspecified",
)  # fmt: skip
"""FFmpeg's names by its numbers; one view is no mark."""

_MAPPING = struct.Struct("=9i")
_STEREO = struct.Struct("=Ii")
_STREAM = re.compile(r"\s*Stream #\d+:(\d+)")
_DOLBY_VISION = re.compile(r"profile: (\d+).*compatibility id: (\d+)")


def declared_side_data(container: av.container.InputContainer, index: int) -> dict[str, str]:
    """Side data of a stream, name -> value in FFmpeg's words. PyAV gives the container's own only as this text."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        text = str(cast(Any, container).dumps_format())
    finally:
        av.logging.set_level(level)
    found: dict[str, str] = {}
    is_wanted = is_listed = False
    for line in text.splitlines():
        if stream := _STREAM.match(line):
            is_wanted, is_listed = int(stream[1]) == index, False
        elif is_wanted and line.strip() == "Side data:":
            is_listed = True
        elif is_wanted and is_listed and line.strip():
            name, _, value = line.strip().partition(":")
            found[name.lower()] = value.strip()
    return found


def declared_marks(side_data: dict[str, str]) -> VideoMarks:
    """Marks in the words of `declared_side_data`."""
    vision = _DOLBY_VISION.search(side_data.get("dovi configuration record", ""))
    stereo = re.sub(r"^2D.*", "", side_data.get("stereo 3d", ""))
    return VideoMarks(
        dolby_vision=f"{vision[1]}.{vision[2]}" if vision else "",
        spherical=side_data.get("spherical mapping", "").split(" ")[0],
        stereo=stereo.split(",")[0] + (" (inverted)" if stereo.endswith("(inverted)") else ""),
    )


def declared_crop(side_data: dict[str, str], height: int, width: int) -> Crop | None:
    """The clean aperture of MP4 or the cropping of Matroska; None when the whole frame is shown."""
    numbers = re.fullmatch(r"(\d+)/(\d+)/(\d+)/(\d+)", side_data.get("frame cropping", ""))
    if numbers is None:
        return None
    left, right, top, bottom = (int(number) for number in numbers.groups())
    if left + right >= width or top + bottom >= height or not any((left, right, top, bottom)):
        return None
    return Crop(top=top, bottom=bottom, left=left, right=right)


def with_frame_marks(marks: VideoMarks, frames: Iterable[av.VideoFrame]) -> VideoMarks:
    """`marks` and what decoded frames carry."""
    kinds = {kind: content for frame in frames for kind, content in side_data(frame)}
    return replace(
        marks,
        captions=marks.captions or "A53_CC" in kinds,
        hdr10_plus=marks.hdr10_plus or bool(kinds.keys() & {"DYNAMIC_HDR_PLUS", "DYNAMIC_HDR_VIVID"}),
        dolby_vision=marks.dolby_vision or ("unknown" if kinds.keys() & {"DOVI_METADATA", "DOVI_RPU_BUFFER"} else ""),
        spherical=marks.spherical or ("unknown" if "SPHERICAL" in kinds else ""),
        mapping=marks.mapping or (_MAPPING.unpack_from(kinds["SPHERICAL"]) if "SPHERICAL" in kinds else ()),
        stereo=marks.stereo or (_stereo_name(bytes(kinds["STEREO3D"])) if "STEREO3D" in kinds else ""),
    )


def has_captions(frame: av.VideoFrame) -> bool:
    """Whether a decoded frame carries closed captions."""
    return any(kind == "A53_CC" for kind, _ in side_data(frame))


def check_dolby_vision(path: str, marks: VideoMarks, way: str) -> None:
    """Raise VideoReadError for a stream whose colours only Dolby Vision knows, unless it is to be ignored.

    Compatibility 0, as of profile 5, means that the base layer is neither HDR10, HLG nor SDR.
    """
    if way not in DOLBY_VISION_WAYS:
        raise OptionError(f"dolby_vision must be {' or '.join(DOLBY_VISION_WAYS)}, got {way!r}")
    if way == "refuse" and marks.dolby_vision.endswith(".0"):
        raise VideoReadError(
            f"{path} is Dolby Vision profile {marks.dolby_vision[:-2]}, whose colours come out green and purple "
            "without its metadata; convert it to HDR10 first, or ask for Dolby Vision to be ignored"
        )


def _stereo_name(content: bytes) -> str:
    """As FFmpeg names it; swapped views are told apart, since not everything that carries the others can say so."""
    kind, flags = _STEREO.unpack_from(content)
    name = _STEREO_NAMES[kind] if kind < len(_STEREO_NAMES) else "unknown"
    return f"{name} (inverted)" if flags & 1 else name


def side_data(frame: av.VideoFrame) -> Iterable[tuple[str, Any]]:
    """Kind and content of everything beside the pixels of a decoded frame."""
    # Of a frame with a kind that it has no name for, such as EXIF, PyAV gives nothing at all.
    with contextlib.suppress(ValueError):
        for item in cast(Any, frame.side_data):
            yield item.type.name, item
