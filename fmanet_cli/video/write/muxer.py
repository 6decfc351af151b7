"""One output container: the encoded video, and beside it everything else of the source."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from fmanet_cli.errors import VideoWriteError
from fmanet_cli.notes import Notes
from fmanet_cli.video.pixels.colour import ImageOrPlanes
from fmanet_cli.video.read.container import ContainerSource
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.decode_timestamps import DecodeTimes
from fmanet_cli.video.write.encoder import VideoEncoder
from fmanet_cli.video.write.opened_output import open_output
from fmanet_cli.video.write.partial_files import PartialFile
from fmanet_cli.video.write.plan import OutputPlan
from fmanet_cli.video.write.side_packets import SidePackets
from fmanet_cli.video.write.stream_copier import StreamCopier


class ContainerOutput:
    """A video file, or standard output, that is being written."""

    def __init__(
        self,
        target: Path | None,
        plan: OutputPlan,
        *,
        overwrite: bool,
        source: VideoReader | None,
        side: SidePackets | None,
        partial_folder: Path | None = None,
        notes: Notes,
    ):
        """Carry out a plan; target None means standard output.

        source: the reader, for the other streams of standard input and the places where times start again.
        side: the source opened for its other streams; it is closed here.
        partial_folder: where the file lies until it is committed, by default beside the target.
        notes: where what was left out or moved is said.
        """
        assert plan.settings is not None and plan.container is not None
        self._partial = PartialFile(target, overwrite=overwrite, folder=partial_folder) if target else None
        self._plan, self._container, self._settings, self._like = plan, plan.container, plan.settings, plan.like
        self._restarts = source.restarts if source is not None else None
        piped = source.source if source is not None and self._like.is_pipe else None
        self._source = piped if isinstance(piped, ContainerSource) else None
        self._input = side
        if self._source is not None:
            self._source.keep_packets({planned.index for planned in plan.streams.streams})
        elif not plan.streams.streams:
            self._close_input()
        self._notes = notes
        self._output: av.container.OutputContainer | None = None
        self._copier: StreamCopier | None = None
        self._encoder: VideoEncoder | None = None
        self._times: DecodeTimes | None = None
        self._dts_end = Fraction(0)
        self._shift = Fraction(0)
        self._shift_ticks = 0
        self._first_pts = 0
        self._written = 0
        self._damaged_packets = 0
        self._largest_drift = Fraction(0)

    @property
    def shift_seconds(self) -> Fraction:
        """What is added to every timestamp of the source."""
        return self._shift + self._plan.muxer_shift_seconds

    def start(self, first_pts: int, *, encoded: av.VideoStream | None = None) -> None:
        """Open the output; `first_pts` is that of the first frame, in the source's time.

        encoded: a stream of packets for `write_packets`; None when frames will be written.
        """
        self._first_pts = first_pts
        self._shift = self._plan.shift_seconds(first_pts)
        self._shift_ticks = round(self._shift / self._settings.time_base)
        opened_input = self._source.container if self._source is not None else None
        if self._input is not None:
            opened_input = self._input.container
        target: Any = f"file:{self._partial.path}" if self._partial is not None else _standard_output()
        self._output, self._video, routes = open_output(
            target, self._plan, self._settings, opened_input, shift_seconds=self.shift_seconds, encoded=encoded
        )
        if encoded is None:
            self._encoder = VideoEncoder(self._video, self._settings)
            self._times = DecodeTimes(reorder_depth=self._encoder.reorder_depth)
        trim_start = None
        if self._like.trim_start_seconds is not None:
            trim_start = first_pts * self._like.time_base
        trim_end = None
        if self._like.trim_end_seconds is not None:
            trim_end = self._like.start_seconds + self._like.trim_end_seconds
        self._copier = StreamCopier(
            routes,
            self._side_packets(trim_start),
            shift_seconds=self._shift,
            start_seconds=trim_start,
            end_seconds=trim_end,
            restarts=self._restarts,
            notes=self._notes,
        )

    def write(self, image: ImageOrPlanes, *, pts: int, duration: int, captioned: av.VideoFrame | None = None) -> None:
        """Encode one frame, and copy what belongs to the time until there."""
        if self._container.has_timestamps:
            pts += self._shift_ticks
        else:
            drift = (pts - self._first_pts) * self._like.time_base - self._written * self._settings.time_base
            self._largest_drift = max(self._largest_drift, abs(drift))
            pts, duration = self._written, 1
        self._written += 1
        assert self._encoder is not None and self._times is not None
        self._times.shows(pts, duration)
        for packet in self._encoder.encode(image, pts=pts, duration=duration, captioned=captioned):
            self._mux_video(self._times.timed(packet))
        self._mux_others(self._dts_end)

    def write_packets(
        self, packets: Iterable[av.Packet], shown: Iterable[tuple[int, int]], *, reorder_depth: int
    ) -> None:
        """Mux the packets of the whole video, in coding order, and copy the rest beside it.

        shown: timestamp of the source and duration of every frame, in display order; packets have the same timestamps.
        reorder_depth: by how many frames coding order is ahead of display order at most.
        """
        times = DecodeTimes(reorder_depth=reorder_depth)
        for pts, duration in shown:
            times.shows(pts + self._shift_ticks, duration)
        for packet in packets:
            assert packet.pts is not None
            packet.pts, packet.stream = packet.pts + self._shift_ticks, self._video
            self._mux_video(times.timed(packet))
            self._mux_others(self._dts_end)
        self._mux_video(times.finish())

    def finish(self, *, is_whole: bool = True) -> None:
        """Write everything that is left, or only what is shown beside the video so far, and close the file."""
        assert self._output is not None and self._copier is not None
        if self._encoder is not None and self._times is not None:
            for packet in self._encoder.finish():
                self._mux_video(self._times.timed(packet))
            self._mux_video(self._times.finish())
        self._mux_others(None if is_whole else self._dts_end)
        self._output.close()
        if self._damaged_packets:
            self._notes.add(f"{self._damaged_packets} damaged packets of sound or subtitles were left out")
        if self._largest_drift > self._settings.time_base / 2:
            self._notes.add(
                f"timestamps are up to {float(self._largest_drift):.3f} s off: {self._container.name} has a fixed rate"
            )
        self._close_input()

    @property
    def partial_path(self) -> Path | None:
        """Where the file lies until it is committed; None for standard output."""
        return self._partial.path if self._partial is not None else None

    def commit(self) -> None:
        """Give the finished file its name."""
        if self._partial is not None:
            self._partial.commit()

    def set_aside(self) -> Path | None:
        """Keep the finished file under another name than its target's."""
        return self._partial.set_aside() if self._partial is not None else None

    def set_playable(self) -> None:
        """Keep a file that holds the beginning of the output under a name that says so."""
        if self._partial is not None:
            self._partial.set_playable()

    def discard(self) -> None:
        """Stop and leave nothing behind."""
        if self._partial is not None:
            # Without a name the file is not rewritten when it is closed, where the system allows that.
            with contextlib.suppress(OSError):
                self._partial.discard()
        if self._output is not None:
            with contextlib.suppress(Exception):
                self._output.close()
        self._close_input()
        if self._partial is not None:
            self._partial.discard()

    def _mux_video(self, packets: Iterable[av.Packet]) -> None:
        assert self._output is not None
        for packet in packets:
            if packet.dts is not None:
                self._dts_end = max(self._dts_end, packet.dts * self._settings.time_base)
            self._output.mux(packet)

    def _mux_others(self, end_seconds: Fraction | None) -> None:
        assert self._output is not None and self._copier is not None
        for packet in self._copier.up_to(end_seconds):
            try:
                self._output.mux(packet)
            except av.error.InvalidDataError:
                self._damaged_packets += 1

    def _side_packets(self, start_seconds: Fraction | None) -> Iterable[av.Packet]:
        if self._source is not None:
            return _Taken(self._source)
        return self._input.packets(start_seconds) if self._input is not None else ()

    def _close_input(self) -> None:
        if self._input is not None:
            self._input.close()
            self._input = None


def _standard_output() -> Any:
    if sys.stdout is None:
        raise VideoWriteError("standard output is closed")
    return sys.stdout.buffer


class _Taken:
    """Packets that a reader of a pipe has collected; ends for now where they end, and goes on when there are more."""

    def __init__(self, source: ContainerSource):
        self._source = source

    def __iter__(self) -> Iterator[av.Packet]:
        return self

    def __next__(self) -> av.Packet:
        return next(self._source.take_packets())
