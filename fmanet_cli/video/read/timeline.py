"""When every frame of a video is shown: from its packets where they are exact, else by decoding."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np

from fmanet_cli.video.frames import Frame, VideoInfo
from fmanet_cli.video.read.packets import FilePackets
from fmanet_cli.video.read.reader import VideoReader

_EXACT_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_EXACT_CODECS = {"h264", "hevc", "av1", "vp9", "prores", "ffv1", "mjpeg", "dnxhd", "png", "rawvideo"}
"""One packet is one shown frame. Not so for VP8 and MPEG-4, which have packets that show nothing."""

_NO_IMAGE = np.zeros((1, 1, 3), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """Presentation timestamps of every frame of a video."""

    time_base: Fraction
    """Seconds per tick."""
    pts: array[int]
    """In ticks, rising."""
    last_duration: int
    """How long the last frame is shown, in ticks."""
    origin: str
    """How they were found: `packets`, `decoded`, or `run` for the frames of a run."""
    problems: int = 0
    """Damaged places met by decoding."""

    @property
    def first_seconds(self) -> Fraction:
        """When the first frame is shown; 0 without frames."""
        return self.pts[0] * self.time_base if self.pts else Fraction(0)

    @property
    def duration_seconds(self) -> Fraction:
        """From the start of the first frame to the end of the last."""
        return (self.pts[-1] - self.pts[0] + self.last_duration) * self.time_base if self.pts else Fraction(0)


class TimelineRecorder:
    """Notes when the frames of a video are shown."""

    def __init__(self, time_base: Fraction):
        self._time_base = time_base
        self._pts = array("q")
        self._last_duration = 0

    def note(self, frame: Frame) -> None:
        """Take the next one."""
        self._pts.append(frame.pts)
        self._last_duration = frame.duration

    def timeline(self) -> Timeline:
        """What was noted so far."""
        return Timeline(self._time_base, self._pts, self._last_duration, "run")


def packet_timeline(info: VideoInfo, found: FilePackets) -> Timeline | None:
    """Times of the frames that a reader of `info` gives, from packets; None where only decoding tells.

    That is so for edit lists, fields in packets of their own, missing or unordered times, and streams that are joined
    in the middle.
    """
    packets = found.streams[info.stream_index]
    exact = (
        info.container in _EXACT_CONTAINERS
        and info.codec in _EXACT_CODECS
        and packets.count > 0
        and packets.is_timed
        and packets.starts_clean
        and not packets.hidden
        and not packets.restarts
    )
    if not exact:
        return None
    shown = sorted(packets.pts)
    if any(later <= earlier for earlier, later in pairwise(shown)):
        return None
    start, end = info.trim_start_seconds, info.trim_end_seconds
    kept = [
        pts
        for pts in shown
        if (start is None or pts * info.time_base - info.start_seconds >= start)
        and (end is None or pts * info.time_base - info.start_seconds < end)
    ]
    if not kept:
        return None
    following = next((pts for pts in shown if pts > kept[-1]), None) if kept[-1] != shown[-1] else None
    last = following - kept[-1] if following is not None else _last_duration(info, found)
    return Timeline(info.time_base, array("q", kept), last, "packets")


def decoded_timeline(info: VideoInfo) -> Timeline:
    """Times of the frames that a reader of `info` gives, by decoding them; damage is counted and passed over."""
    with again(info, deinterlace="off") as reader:
        return reader.timeline()


def again(info: VideoInfo, *, deinterlace: str = "auto", colour: str = "auto") -> SamplingReader:
    """A second reading of the part of a video that `info` tells of; damage is passed over."""
    start, end = info.trim_start_seconds, info.trim_end_seconds
    return SamplingReader(
        info.path,
        start_seconds=None if start is None else float(start),
        end_seconds=None if end is None else float(end),
        on_error="continue",
        deinterlace=deinterlace,
        colour=colour,
        stream=None if info.container == "image2" else info.stream_index,
        dolby_vision="ignore",
    )


class SamplingReader(VideoReader):
    """A reader that decodes every frame and turns only the wanted ones into RGB; the others have an empty image."""

    wanted: Collection[int] = frozenset()
    """Numbers of the frames, from 0."""

    def __enter__(self) -> SamplingReader:
        return self

    def timeline(self, look: Callable[[int, np.ndarray], None] = lambda *_: None) -> Timeline:
        """Decode everything; the times of all frames.

        Args:
            look: called with the number and the (H, W, 3) float32 RGB image of each wanted frame.
        """
        recorder = TimelineRecorder(self.info.time_base)
        for number, frame in enumerate(self):
            recorder.note(frame)
            if number in self.wanted:
                look(number, frame.image)
        found = recorder.timeline()
        return Timeline(found.time_base, found.pts, found.last_duration, "decoded", self.problem_count)

    def _as_frame(self, pts: int, decoded: av.VideoFrame, *, duration: int) -> Frame:
        if self.frames_read in self.wanted:
            return super()._as_frame(pts, decoded, duration=duration)
        return Frame(_NO_IMAGE, pts=pts, time_base=self.info.time_base, duration=max(0, duration))


def _last_duration(info: VideoInfo, found: FilePackets) -> int:
    """The container's end of the stream counts, as for the reader, then the packet's own duration."""
    packets, declared = found.streams[info.stream_index], found.declared_end_seconds
    if declared is not None and (left := round(declared / info.time_base) - max(packets.pts)) > 0:
        return left
    return packets.last_duration or max(1, round(1 / info.frame_rate / info.time_base))
