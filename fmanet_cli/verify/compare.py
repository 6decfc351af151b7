"""A restored copy held against its source: every frame's time, every stream's bytes, every tag."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from fmanet_cli.errors import OptionError, VideoReadError
from fmanet_cli.verify.main_video import VideoPair, video_rows
from fmanet_cli.verify.other_streams import StreamsPair, stream_rows
from fmanet_cli.verify.pictures import picture_row
from fmanet_cli.verify.result import Verdict, VerificationResult, VerificationRow
from fmanet_cli.verify.tags import chapter_rows, tag_rows
from fmanet_cli.verify.times import start_row, timeline_rows
from fmanet_cli.video.frames import VideoInfo
from fmanet_cli.video.inspection import (
    IMAGE_SEQUENCE,
    Inspection,
    Track,
    container_of_file,
    inspect,
)
from fmanet_cli.video.read.packets import Span
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.read.sequence import is_sequence_pattern
from fmanet_cli.video.read.timeline import Timeline, TimesReader, decoded_timeline, packet_timeline
from fmanet_cli.video.write.containers import Container
from fmanet_cli.video.write.sizes import check_size, output_size
from fmanet_cli.video.write.stream_plan import StreamPlan

_WITHOUT_ORIGIN = {"mpegts", "mpeg", "avi"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a run was asked for; the defaults are those of `fmanet restore`."""

    scale: int = 4
    """Output size over input size."""
    size: str | None = None
    """Output size instead: `WxH`, or a name such as `1080p`."""
    audio: str = "copy"
    """`copy`, `aac` or `none`."""
    start_seconds: float | None = None
    """Restored from here on."""
    end_seconds: float | None = None
    """Restored up to here, not included."""
    stream: int | None = None
    """Index of the source's video stream; None = the one that a run takes by itself."""
    colour: str = "auto"
    """How the source's pixels were read."""
    codec: str | None = None
    """Encoder that was asked for; None = what suits the container."""
    pixel_format: str | None = None
    """What was asked for; None = what suits the source."""
    decodes: bool = True
    """Whether the output's frames are decoded to prove that they can be, rather than only counted as packets."""

    def __post_init__(self) -> None:
        check_size(self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a run itself knows of its source, for sources that cannot be read twice or are damaged."""

    info: VideoInfo
    """The source as it was read."""
    timeline: Timeline
    """The frames that were read."""
    shift_seconds: Fraction
    """What the writer added to every timestamp."""
    damaged: int = 0
    """Places of the source that could not be read."""
    streams: StreamPlan | None = None
    """What the run planned for the other streams; None = it is planned again as the run would."""


def verify(
    source: str | Path,
    output: str | Path,
    *,
    expectation: Expectation | None = None,
    run: RunFacts | None = None,
) -> VerificationResult:
    """Hold a restored copy against its source.

    Args:
        source: what was restored; `-` only with a `run`.
        output: file or image sequence pattern.
        expectation: what the run was asked for.
        run: what the run knows; None when only the files are there.

    Raises:
        VideoReadError: one of the two cannot be read as video.
        OptionError: the output is standard output, or the expectation is impossible.
    """
    began = time.perf_counter()
    if str(output) == "-" or (str(source) == "-" and run is None):
        raise OptionError("verify needs two files; what went through a pipe is gone")
    asked = expectation or Expectation()
    found = _inspect_output(str(output), asked)
    comparison = _Comparison(_inspect_source(str(source), asked, run, found.container), found, asked, run)
    return VerificationResult(
        source=str(source),
        output=str(output),
        rows=tuple(comparison.rows()),
        notes=tuple(comparison.notes()),
        source_times=comparison.source.timeline.origin,
        output_times=comparison.output.timeline.origin,
        seconds=time.perf_counter() - began,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """What is known of one of the two files."""

    info: VideoInfo
    container: Container
    timeline: Timeline
    video: Track | None = None
    tracks: tuple[Track, ...] = ()
    problem: str = ""
    plan: StreamPlan = field(default_factory=StreamPlan)
    sound_starts: Mapping[int, Fraction] = field(default_factory=dict)


def _inspect_source(path: str, asked: Expectation, run: RunFacts | None, target: Container) -> _Side:
    if run is not None:
        info = run.info
    else:
        with VideoReader(
            path,
            start_seconds=asked.start_seconds,
            end_seconds=asked.end_seconds,
            on_error="continue",
            deinterlace="off",
            colour=asked.colour,
            stream=asked.stream,
            dolby_vision="ignore",
        ) as reader:
            info = reader.info
    if info.is_pipe or info.container == "image2":
        timeline = run.timeline if run is not None else decoded_timeline(info)
        return _Side(info=info, container=IMAGE_SEQUENCE, timeline=timeline)
    plan = run.streams if run is not None else None
    found = inspect(info, span=_span(info, run), target=target, audio=asked.audio, plan=plan)
    times = packet_timeline(info, found.packets) if run is None or not run.damaged else None
    if times is None:
        times = run.timeline if run is not None else decoded_timeline(info)
    return _side(info, found, times)


def _inspect_output(path: str, asked: Expectation) -> _Side:
    """Decodes the output while it is open for its facts, unless only packets are asked for."""
    reader_kind = TimesReader if asked.decodes or is_sequence_pattern(path) else VideoReader
    with reader_kind(path, on_error="continue", deinterlace="off", dolby_vision="ignore") as reader:
        info, times = reader.info, reader.timeline() if isinstance(reader, TimesReader) else None
    if info.container == "image2":
        assert times is not None
        return _Side(info=info, container=IMAGE_SEQUENCE, timeline=times)
    found = inspect(info)
    return _side(info, found, times or packet_timeline(info, found.packets) or decoded_timeline(info))


def _side(info: VideoInfo, found: Inspection, timeline: Timeline) -> _Side:
    return _Side(
        info=info,
        container=container_of_file(info),
        timeline=timeline,
        video=next((track for track in found.tracks if track.index == info.stream_index), None),
        tracks=tuple(track for track in found.tracks if track.index != info.stream_index),
        problem=found.packets.problem,
        plan=found.plan,
        sound_starts=found.sound_starts,
    )


def _span(info: VideoInfo, run: RunFacts | None) -> Span:
    """The part of the other streams that goes with the asked part of the video."""
    start = info.trim_start_seconds
    if start is not None:
        start = run.timeline.first_seconds if run is not None else _decoded_start(info)
    end = info.trim_end_seconds
    return Span(start, None if end is None else info.start_seconds + end)


def _decoded_start(info: VideoInfo) -> Fraction:
    """When the first frame of an asked part is shown."""
    with VideoReader(
        info.path,
        start_seconds=float(info.trim_start_seconds or 0),
        on_error="continue",
        deinterlace="off",
        stream=info.stream_index,
        dolby_vision="ignore",
    ) as reader:
        first = next(reader, None)
    if first is None:
        raise VideoReadError(f"{info.path} has no frame from {float(info.trim_start_seconds or 0):g} s on")
    return first.pts * first.time_base


class _Comparison:
    """Two inspected files and what was asked."""

    def __init__(self, source: _Side, output: _Side, asked: Expectation, run: RunFacts | None):
        self.source, self.output = source, output
        self._asked, self._run = asked, run
        self._has_streams = source.video is not None and output.video is not None
        self._plan = source.plan

    def rows(self) -> list[VerificationRow]:
        """Everything compared, in a fixed order."""
        source, output = self.source, self.output
        start, shift = start_row(
            source.timeline,
            output.timeline,
            promised_shift=self._run.shift_seconds if self._run is not None else None,
            free_reason=self._free_shift_reason(),
        )
        rows = timeline_rows(source.timeline, output.timeline, output.container, shift_seconds=shift)
        if output.container.has_timestamps:
            rows.insert(1, start)
        pair = self._video_pair()
        rows.extend(video_rows(pair))
        if len(source.timeline.pts) == len(output.timeline.pts):
            turned = source.info.display_matrix if pair.turns_pixels and output.info.display_matrix is None else None
            pictures = picture_row(
                source.info, output.info, len(source.timeline.pts), colour=self._asked.colour, turned=turned
            )
            rows.extend([pictures] if pictures is not None and self._asked.decodes else [])
        if self._has_streams:
            rows.extend(stream_rows(self._streams_pair(shift)))
        elif source.tracks:
            rows.append(VerificationRow("other streams", str(len(source.tracks)), "none", Verdict.LOST))
        rows.extend(chapter_rows(source.info, output.info, output.container, shift))
        has_cover = any(track.kind == "cover" for track in output.tracks)
        rows.extend(tag_rows(source.info, output.info, output.container, has_cover=has_cover))
        damage = output.timeline.problems + bool(output.problem)
        rows.append(VerificationRow("damaged places", "0", str(damage), Verdict.DIFFERS if damage else Verdict.SAME))
        return rows

    def notes(self) -> list[str]:
        """What could not be compared."""
        notes = []
        if self.source.info.is_pipe:
            notes.append("pictures, sound and other streams are not compared: the source came through a pipe")
        if self._run is not None and self._run.damaged:
            notes.append(f"the source is damaged in {self._run.damaged} places; its good frames are compared")
        if self.source.problem:
            notes.append(f"the source cannot be read to its end: {self.source.problem}")
        return notes

    def _free_shift_reason(self) -> str:
        """Why the output may start at another time than the source, when no run says by how much."""
        source, output = self.source, self.output
        if output.container.name in _WITHOUT_ORIGIN:
            return f"{output.container.name} has no fixed start"
        if self._run is not None:
            return ""
        if _WITHOUT_ORIGIN & set(source.info.container.split(",")):
            return "the source has no fixed start"
        if source.info.trim_start_seconds is not None:
            return "only a part was restored"
        if any(planned.how == "audio" for planned in self._plan.streams) or self._earliest() < 0:
            return "the sound or the pictures start before 0"
        return ""

    def _earliest(self) -> Fraction:
        packets = [track.packets for track in self.source.tracks if track.packets is not None and track.packets.pts]
        return min([self.source.timeline.first_seconds, *(found.pts[0] * found.time_base for found in packets)])

    def _video_pair(self) -> VideoPair:
        source, output = self.source.info, self.output.info
        height, width = output_size(
            source.height,
            source.width,
            scale=self._asked.scale,
            size=self._asked.size,
            aspect=source.sample_aspect_ratio,
        )
        return VideoPair(
            source=source,
            output=output,
            container=self.output.container,
            height=height,
            width=width,
            asked_codec=self._asked.codec,
            asked_pixel_format=self._asked.pixel_format,
        )

    def _streams_pair(self, shift: Fraction) -> StreamsPair:
        return StreamsPair(
            source=self.source.tracks,
            output=self.output.tracks,
            source_video=self.source.video,
            output_video=self.output.video,
            plan=self._plan,
            container=self.output.container,
            shift_seconds=shift,
            leaves_out_sound=self._asked.audio == "none",
            sound_starts=self.source.sound_starts,
        )
