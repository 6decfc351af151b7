"""One output container: the encoded video, and beside it everything else of the source."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import sys
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from fmanet_cli.errors import OptionError, VideoWriteError
from fmanet_cli.video.frames import DisplayMatrix, VideoInfo
from fmanet_cli.video.pixels.colour import Picture
from fmanet_cli.video.read.container import ContainerSource
from fmanet_cli.video.read.describe import codec_name, is_cover
from fmanet_cli.video.read.rational import to_fraction
from fmanet_cli.video.read.restarts import RestartLog
from fmanet_cli.video.write.codecs import VideoSettings, add_encoded_stream, add_video_stream
from fmanet_cli.video.write.containers import Container
from fmanet_cli.video.write.decode_timestamps import DecodeTimes
from fmanet_cli.video.write.encoder import VideoEncoder
from fmanet_cli.video.write.partial_files import PartialFile
from fmanet_cli.video.write.rehearsal import check_written, heard, refusal, refuse_passed_over
from fmanet_cli.video.write.side_packets import SidePackets
from fmanet_cli.video.write.stream_copier import Route, StreamCopier
from fmanet_cli.video.write.stream_plan import (
    StreamPlan,
    add_planned,
    plan_streams,
    samples_for,
)
from fmanet_cli.video.write.tags import kept_tags, muxer_options, shifted_chapters, stream_tags, unusual_tags

_PIPED_CONTAINERS = ("matroska", "webm", "nut", "mpegts", "yuv4mpegpipe")
_CONTAINERS_WITHOUT_ORIGIN = ("mpegts", "mpeg", "avi")
_LIBAVFORMAT_MAJOR = av.library_versions["libavformat"][0]
_SHIFT_FREE_LIBAVFORMAT = 63
_AAC_PRIMING_SAMPLES = 1024


class ContainerOutput:
    """A video file, or standard output, that is being written."""

    def __init__(
        self,
        target: Path | None,
        *,
        container: Container,
        settings: VideoSettings,
        like: VideoInfo,
        display_matrix: DisplayMatrix | None,
        audio: str,
        overwrite: bool,
        source: ContainerSource | None,
        restarts: RestartLog | None = None,
        partial_folder: Path | None = None,
    ):
        """Plan the streams and rehearse the whole output in memory; target None means standard output.

        partial_folder: where the file lies until it is committed, by default beside the target.

        Raises OptionError when encoder and container do not go together.
        """
        if target is None and container.name not in _PIPED_CONTAINERS:
            raise OptionError(
                f"{container.name} cannot be written to a pipe; use one of {', '.join(_PIPED_CONTAINERS)}"
            )
        self._partial = PartialFile(target, overwrite=overwrite, folder=partial_folder) if target else None
        self._container, self._settings, self._like, self._matrix = container, settings, like, display_matrix
        self._source, self._restarts = source, restarts
        self.warnings: list[str] = []
        self._input: SidePackets | None = None
        self._output: av.container.OutputContainer | None = None
        self._copier: StreamCopier | None = None
        self._encoder: VideoEncoder | None = None
        self._times: DecodeTimes | None = None
        self._dts_end = Fraction(0)
        self._shift = Fraction(0)
        self._muxer_shift = Fraction(0)
        self._earliest_sound = Fraction(0)
        self._first_pts = 0
        self._written = 0
        self._damaged_packets = 0
        self._largest_drift = Fraction(0)
        try:
            self._plan = self._planned(audio)
        except BaseException:
            self._close_input()
            raise
        self.warnings.extend(self._plan.warnings)

    @property
    def shift_seconds(self) -> Fraction:
        """What is added to every timestamp of the source."""
        return self._shift + self._muxer_shift

    def start(self, first_pts: int, *, encoded: av.VideoStream | None = None) -> None:
        """Open the output; ``first_pts`` is that of the first frame, in the source's time.

        encoded: a stream of packets for ``write_packets``; None when pictures will be written.
        """
        self._first_pts = first_pts
        self._set_shift(first_pts)
        opened_input = self._source.container if self._source is not None else None
        if self._input is not None:
            opened_input = self._input.container
        target: Any = f"file:{self._partial.path}" if self._partial is not None else _standard_output()
        self._output, self._video, routes = self._opened(target, self._plan, opened_input, encoded)
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
        )

    def write(self, picture: Picture, *, pts: int, duration: int) -> None:
        """Encode one picture, and copy what belongs to the time until there."""
        if self._container.has_timestamps:
            pts += round(self._shift / self._settings.time_base)
        else:
            drift = (pts - self._first_pts) * self._like.time_base - self._written * self._settings.time_base
            self._largest_drift = max(self._largest_drift, abs(drift))
            pts, duration = self._written, 1
        self._written += 1
        assert self._encoder is not None and self._times is not None
        self._times.shows(pts, duration)
        for packet in self._encoder.encode(picture, pts=pts, duration=duration):
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
            times.shows(pts, duration)
        for packet in packets:
            self._mux_video(map(self._moved, times.timed(packet)))
            self._mux_others(self._dts_end)
        self._mux_video(map(self._moved, times.finish()))

    def finish(self) -> None:
        """Write everything that is left and close the file."""
        assert self._output is not None and self._copier is not None
        if self._encoder is not None and self._times is not None:
            for packet in self._encoder.finish():
                self._mux_video(self._times.timed(packet))
            self._mux_video(self._times.finish())
        self._mux_others(None)
        self._output.close()
        self.warnings.extend(self._copier.warnings)
        if self._damaged_packets:
            self.warnings.append(f"{self._damaged_packets} damaged packets of sound or subtitles were left out")
        if self._largest_drift > self._settings.time_base / 2:
            self.warnings.append(
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

    def _moved(self, packet: av.Packet) -> av.Packet:
        shift = round(self._shift / self._settings.time_base)
        assert packet.pts is not None and packet.dts is not None
        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, self._video
        return packet

    def _mux_video(self, packets: Iterable[av.Packet]) -> None:
        assert self._output is not None
        for packet in packets:
            if packet.dts is not None:
                self._dts_end = max(self._dts_end, packet.dts * self._settings.time_base)
            self._output.mux(packet)

    def _mux_others(self, end_seconds: Fraction | None) -> None:
        assert self._copier is not None
        for packet in self._copier.up_to(end_seconds):
            self._mux_other(packet)

    def _mux_other(self, packet: av.Packet) -> None:
        assert self._output is not None
        try:
            self._output.mux(packet)
        except av.error.InvalidDataError:
            self._damaged_packets += 1

    def _planned(self, audio: str) -> StreamPlan:
        others = [info for info in self._like.streams if info.index != self._like.stream_index]
        if not others:
            plan_streams((), main_index=-1, container=self._container, audio=audio, sample_packets={})
            self._rehearse(StreamPlan(), None, {})
            return StreamPlan()
        if self._like.is_pipe and self._source is None:
            self.warnings.append("sound and other streams of standard input are not copied: no reader was given")
            self._rehearse(StreamPlan(), None, {})
            return StreamPlan()
        if self._source is not None:
            container, samples = self._source.container, self._source.sample_packets()
        else:
            self._input = SidePackets(self._like.path, {info.index for info in others})
            container, samples = self._input.container, self._input.samples()
        plan = plan_streams(
            container.streams,
            main_index=self._like.stream_index,
            container=self._container,
            audio=audio,
            sample_packets=samples,
        )
        self._rehearse(plan, container, samples)
        tags = unusual_tags(self._like) if self._container.name in ("mp4", "mov") else []
        if tags and any(is_cover(container.streams[planned.index]) for planned in plan.streams):
            self.warnings.append(f"tags {', '.join(tags)} are lost: {self._container.name} has them or cover art")
        self._earliest_sound = self._earliest_sound_seconds(plan, container, samples)
        # Matroska takes the priming of Opus as a delay of the codec.
        self._muxer_shift = self._expected_muxer_shift(_earliest_copied_sound(plan, container, samples, ("opus",)))
        if self._source is not None:
            self._source.keep_packets({planned.index for planned in plan.streams})
        elif not plan.streams:
            self._close_input()
        return plan

    def _rehearse(
        self,
        plan: StreamPlan,
        opened_input: av.container.InputContainer | None,
        samples: dict[int, list[av.Packet]],
    ) -> None:
        """Write one frame and the first packets of every stream into memory, so that failure comes before the work."""
        settings, content = self._settings, io.BytesIO()
        with heard() as logs:
            try:
                output, video, routes = self._opened(content, plan, opened_input)
                with output:
                    encoder = VideoEncoder(video, settings)
                    grey = np.full((settings.height, settings.width, 3), 0.5, np.float32)
                    duration = max(1, round(1 / settings.frame_rate / settings.time_base))
                    times = DecodeTimes(reorder_depth=encoder.reorder_depth)
                    times.shows(0, duration)
                    coded = [*encoder.encode(grey, pts=0, duration=duration), *encoder.finish()]
                    packets = [*itertools.chain.from_iterable(map(times.timed, coded)), *times.finish()]
                    for index, route in routes.items():
                        if route.planned.how == "copy":
                            for packet in samples_for(samples.get(index, []), route.new):
                                output.mux(packet)
                    for packet in packets:
                        output.mux(packet)
                refuse_passed_over(logs, settings)
                check_written(content, settings, self._container)
            except (ValueError, av.error.FFmpegError) as error:
                if isinstance(error, OptionError):
                    raise
                raise refusal(error, logs, settings, self._container) from error

    def _opened(
        self,
        target: Any,
        plan: StreamPlan,
        opened_input: av.container.InputContainer | None,
        encoded: av.VideoStream | None = None,
    ) -> tuple[av.container.OutputContainer, av.VideoStream, dict[int, Route]]:
        sources: dict[int, Any] = {}
        if opened_input is not None:
            sources = {stream.index: stream for stream in opened_input.streams}
        planned_sources = [sources[planned.index] for planned in plan.streams]
        options = muxer_options(
            self._container,
            self._like,
            time_base=self._settings.time_base,
            sound=[
                (planned.codec or codec_name(source), source.rate)
                for planned, source in zip(plan.streams, planned_sources, strict=True)
                if source.type == "audio"
            ],
            is_file=isinstance(target, str),
            has_cover=any(is_cover(source) for source in planned_sources),
        )
        output = av.open(target, "w", format=self._container.name, container_options=options)
        try:
            if encoded is None:
                video = add_video_stream(output, self._settings)
            else:
                video = add_encoded_stream(output, self._settings, encoded)
            if self._matrix is not None and self._container.holds_rotation:
                video.set_display_matrix(list(self._matrix))
            routes = {}
            for planned in plan.streams:
                source = sources[planned.index]
                routes[planned.index] = Route(planned, source, add_planned(output, planned, source))
            for attachment in plan.attachments:
                output.add_attachment(attachment.name, attachment.mime_type, attachment.content)
            self._add_tags(output, video)
            output.start_encoding()
            if encoded is None and (refused := dict(video.codec_context.options)):
                raise OptionError(f"{self._settings.codec.name} has no option {', '.join(sorted(refused))}")
        except BaseException:
            with contextlib.suppress(Exception):
                output.close()
            raise
        return output, video, routes

    def _add_tags(self, output: av.container.OutputContainer, video: av.VideoStream) -> None:
        if self._container.holds_metadata:
            output.metadata.update(kept_tags(self._like))
            video.metadata.update(stream_tags(self._like.stream_metadata, self._container.name))
        video.disposition = av.stream.Disposition(self._like.disposition)
        if self._container.holds_chapters and self._like.chapters:
            output.set_chapters(shifted_chapters(self._like, self.shift_seconds))

    def _set_shift(self, first_pts: int) -> None:
        like = self._like
        first = first_pts * like.time_base
        if like.trim_start_seconds is not None:
            self._shift = -first
        elif any(name in like.container.split(",") for name in _CONTAINERS_WITHOUT_ORIGIN):
            ticks = round(like.start_seconds / like.time_base)
            self._shift = -min(ticks * like.time_base, first)
        elif first < 0:
            self._shift = -first
        early = self._earliest_sound + (0 if like.trim_start_seconds is not None else self._shift)
        if early < 0 and not self._container.takes_negative_times:
            ticks = math.ceil(-early / like.time_base)
            self._shift += ticks * like.time_base

    def _earliest_sound_seconds(
        self, plan: StreamPlan, container: av.container.InputContainer, samples: dict[int, list[av.Packet]]
    ) -> Fraction:
        """When sound starts before 0, as primed AAC does; 0 when none does. A part has no packets before its start."""
        is_part = self._like.trim_start_seconds is not None
        earliest = Fraction(0) if is_part else _earliest_copied_sound(plan, container, samples)
        for planned in plan.streams:
            source: Any = container.streams[planned.index]
            if planned.codec == "aac":
                earliest = min(earliest, Fraction(-_AAC_PRIMING_SAMPLES, source.rate))
        return earliest

    def _expected_muxer_shift(self, earliest: Fraction) -> Fraction:
        """What the Matroska muxer before FFmpeg 9 adds to all streams when sound of an MP4 starts before 0."""
        if self._like.trim_start_seconds is not None:
            return Fraction(0)
        moves = self._container.name in ("matroska", "webm") and _LIBAVFORMAT_MAJOR < _SHIFT_FREE_LIBAVFORMAT
        return Fraction(round(-earliest * 1000), 1000) if moves and "mp4" in self._like.container else Fraction(0)

    def _side_packets(self, start_seconds: Fraction | None) -> Iterable[av.Packet]:
        if self._source is not None:
            return _Taken(self._source)
        return self._input.packets(start_seconds) if self._input is not None else ()

    def _close_input(self) -> None:
        if self._input is not None:
            self._input.close()
            self._input = None


def _earliest_copied_sound(
    plan: StreamPlan,
    container: av.container.InputContainer,
    samples: dict[int, list[av.Packet]],
    excepted: tuple[str, ...] = (),
) -> Fraction:
    """When copied sound starts before 0, but for some codecs; 0 when none does."""
    earliest = Fraction(0)
    for planned in plan.streams:
        packets = samples.get(planned.index, [])
        source: Any = container.streams[planned.index]
        if planned.how == "copy" and packets and source.type == "audio" and codec_name(source) not in excepted:
            base = to_fraction(packets[0].time_base)
            if packets[0].pts is not None and base is not None:
                earliest = min(earliest, packets[0].pts * base)
    return earliest


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
