"""An output that is written as closed segments, which are joined without loss at the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from operator import attrgetter
from pathlib import Path

import av

from fmanet_cli.errors import VideoWriteError
from fmanet_cli.video.pixels.colour import ImageOrPlanes
from fmanet_cli.video.write.codecs import VideoSettings
from fmanet_cli.video.write.muxer import ContainerOutput
from fmanet_cli.video.write.segments import Segment, SegmentFolder, SegmentWriter

MOST_SECONDS = 120.0
"""How long a segment stays open, so that a slow run keeps its work too. A segment begins with a key frame, which takes
space; at this age the space of one frame costs less than the time would."""


class SegmentedOutput:
    """Writes segments, and at the end the packets of all of them into one container."""

    def __init__(self, output: ContainerOutput, segments: SegmentFolder, settings: VideoSettings):
        """output: the final container, which stays unopened until all segments are closed."""
        self._output, self._segments, self._settings = output, segments, settings
        self._current: SegmentWriter | None = None
        self._current_since = 0.0
        self._next = 0
        """Number of the frame that comes next, while a segment is open."""

    @property
    def shift_seconds(self) -> Fraction:
        """What is added to every timestamp of the source; known when the output is finished."""
        return self._output.shift_seconds

    @property
    def partial_path(self) -> Path | None:
        """Where the joined file lies until it is committed."""
        return self._output.partial_path

    def start(self, first_pts: int) -> None:
        """Nothing: the container is opened when it is known to be complete."""

    @property
    def settings(self) -> VideoSettings:
        """How segments are encoded."""
        return self._settings

    def write(self, image: ImageOrPlanes, *, pts: int, duration: int, captioned: av.VideoFrame | None = None) -> None:
        """Encode one frame; a segment that is full or old, or ends where this frame begins a span, is closed."""
        if self._current is not None and self._segments.grid.begins(self._next):
            self._close_segment()
        if self._current is None:
            self._current = self._segments.begin(self._settings)
            self._current_since, self._next = time.monotonic(), self._current.first
        self._current.write(image, pts=pts, duration=duration, captioned=captioned)
        self._next += 1
        if self._next == self._current.end or time.monotonic() - self._current_since >= MOST_SECONDS:
            self._close_segment()

    def finish(self) -> None:
        """Close the last segment and join all of them."""
        if self._current is not None:
            self._close_segment()
        missing, next_first = self._segments.gap()
        if next_first is not None:
            raise VideoWriteError(f"frames {missing} to {next_first - 1} are missing; run the same command again")
        self._join(self._segments.segments)

    def keep(self, *, playable: bool) -> None:
        """Close the segment that is being written with the frames it has, because the run is told to stop.

        playable: also join the segments from the first frame to the first gap into a file of its own.
        """
        if self._current is not None and self._next > self._current.first:
            self._close_segment()
        self._segments.look_again()
        end, _ = self._segments.gap()
        if playable and end:
            self._join([segment for segment in self._segments.segments if segment.first < end], is_whole=False)
            self._output.set_playable()

    def _join(self, segments: Sequence[Segment], *, is_whole: bool = True) -> None:
        with _opened(segments[0]) as stream:
            self._output.start(segments[0].pts[0], encoded=stream)
        shown = (frame for segment in segments for frame in zip(segment.pts, segment.durations, strict=True))
        depth = max(number - rank for segment in segments for number, rank in enumerate(segment.order))
        self._output.write_packets(_joined_packets(segments, self._settings.time_base), shown, reorder_depth=depth)
        self._output.finish(is_whole=is_whole)

    def commit(self) -> None:
        """Give the joined file its name."""
        self._output.commit()

    def set_aside(self) -> Path | None:
        """Keep the joined file under another name than its target's."""
        return self._output.set_aside()

    def discard(self) -> None:
        """Stop; segments that are closed stay."""
        if self._current is not None:
            self._current.discard()
            self._current = None
        self._output.discard()

    def _close_segment(self) -> None:
        assert self._current is not None
        self._segments.add(self._current.close())
        self._current = None


def _joined_packets(segments: Sequence[Segment], time_base: Fraction) -> Iterator[av.Packet]:
    """The packets of all segments in coding order, with the presentation timestamps of their frames."""
    extradata: bytes | None = None
    for number, segment in enumerate(segments):
        with _opened(segment) as stream:
            own = stream.codec_context.extradata
            if number and own != extradata:
                raise VideoWriteError(f"{segment.path.name} was encoded otherwise than those before it")
            extradata = own
            container = stream.container
            assert isinstance(container, av.container.InputContainer)
            packets, count = filter(attrgetter("size"), container.demux(stream)), 0
            for packet, rank in zip(packets, segment.order, strict=False):
                packet.pts, packet.dts, packet.time_base = segment.pts[rank], None, time_base
                count += 1
                yield packet
            if count != len(segment.order):
                raise VideoWriteError(f"{segment.path.name} has {count} packets instead of {len(segment.order)}")


@contextlib.contextmanager
def _opened(segment: Segment) -> Iterator[av.VideoStream]:
    with av.open(f"file:{segment.path}") as container:
        yield container.streams.video[0]
