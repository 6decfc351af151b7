"""How long a video is and how many frames it has, by its container's word."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from fmanet_cli.video.read.rational import to_fraction

_LARGEST_COUNTED_BYTES = 1 << 27
_FORMATS_WITH_STREAM_DURATION = {"mov", "avi", "ogg", "ivf", "gif", "apng"}
"""What says how long each stream is. Elsewhere libavformat fills in an estimate, or the length of the whole file, which
sound may have made longer."""


def frame_rate_of(stream: av.VideoStream) -> Fraction | None:
    """The usual frame rate of a stream; None when nothing sane is said.

    WMV files have milliseconds and no rate, which libavformat takes for 1000 frames a second where it sees few frames.
    """
    is_unsaid = stream.container.format.name == "asf"
    for rate in (stream.guessed_rate, stream.average_rate):
        fraction = to_fraction(rate)
        if is_unsaid and fraction == 1000:
            continue
        if fraction is not None and 0 < fraction <= 1000:
            return fraction
    return None


def duration_seconds_of(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction | None:
    """Duration of the video stream, else of the container; None when unknown."""
    base = to_fraction(stream.time_base)
    end = stream_end_seconds(stream)
    if end is not None:
        return max(end - (stream.start_time or 0) * (base or 0), Fraction(0)) or None
    if stream.duration and stream.duration > 0 and base is not None:
        return Fraction(stream.duration * base)
    if container.duration and container.duration > 0:
        return Fraction(container.duration, av.time_base)
    return None


def stream_end_seconds(stream: Any) -> Fraction | None:
    """When this very stream ends by the container's word; None when there is none.

    Matroska says it in a tag, which counts from 0 and not from the first frame. So does MP4 in fragments, whose tracks
    have no count of frames.
    """
    formats = stream.container.format.name.split(",")
    if "matroska" in formats:
        return _tagged_end(stream)
    base = to_fraction(stream.time_base)
    if not _FORMATS_WITH_STREAM_DURATION & set(formats) or base is None or not stream.duration or stream.duration < 0:
        return None
    is_fragmented = "mov" in formats and not stream.frames
    start = 0 if is_fragmented else stream.start_time or 0
    return Fraction((start + stream.duration) * base)


def estimated_frame_count(
    container: av.container.InputContainer, stream: av.VideoStream, *, counted: int | None = None
) -> int | None:
    """How many frames will probably be decoded; None when unknown.

    Edit lists make the container's own number too large, and rate times duration is wrong for a variable rate.

    Args:
        container: of the stream.
        stream: the video.
        counted: packets of the stream, where they were counted.
    """
    duration, rate = duration_seconds_of(container, stream), to_fraction(stream.average_rate)
    by_time = round(duration * rate) if duration and rate and rate <= 1000 else None
    if stream.frames > 0:
        return min(stream.frames, by_time) if by_time else stream.frames
    return counted or tagged_frame_count(stream) or by_time


def tagged_frame_count(stream: Any) -> int:
    """The number of frames that a program has written into Matroska; 0 when there is none."""
    names = ((name.split("-")[0], value) for name, value in stream.metadata.items())
    text = next((value for name, value in names if name == "NUMBER_OF_FRAMES"), "")
    return int(text) if text.isdecimal() else 0


def counted_packets(
    container: av.container.InputContainer, stream: av.VideoStream, path: Path
) -> tuple[int | None, bool]:
    """How many packets a small file has whose container does not say it; for Matroska, whose rate is often variable.

    Returns:
        The count, None where it was not worth while, and whether the container has to be opened again.
    """
    is_matroska = "matroska" in container.format.name
    is_told = tagged_frame_count(stream) > 0 if is_matroska else estimated_frame_count(container, stream) is not None
    if is_told or path.stat().st_size > _LARGEST_COUNTED_BYTES:
        return None, False
    count, start = 0, None
    try:
        for packet in container.demux(stream):
            if packet.size and not count:
                start = packet.pts if packet.is_keyframe else None
            count += packet.size > 0
        if is_matroska and start is not None:
            container.seek(start, stream=stream)
            return count, False
    except av.error.FFmpegError:
        pass
    return count, True


def _tagged_end(stream: Any) -> Fraction | None:
    hours, _, rest = stream.metadata.get("DURATION", "").partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds) or None
    except (ValueError, ZeroDivisionError):
        return None
