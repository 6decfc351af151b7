"""A restored copy held against its source: every frame's time, every stream's bytes, every tag."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from fmanet_cli.errors import OptionError, VideoReadError
from fmanet_cli.verify.likeness import FrameComparison, Originals
from fmanet_cli.verify.main_video import VideoPair, video_rows
from fmanet_cli.verify.other_streams import StreamsPair, stream_rows
from fmanet_cli.verify.result import Verdict, VerificationResult, VerificationRow
from fmanet_cli.verify.tags import chapter_rows, tag_rows
from fmanet_cli.verify.times import start_row, timeline_rows
from fmanet_cli.video.frames import NO_MARKS, VideoInfo
from fmanet_cli.video.inspection import IMAGE_SEQUENCE, Inspection, Track, container_of_file, inspect
from fmanet_cli.video.read.packets import Span
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.read.timeline import SamplingReader, Timeline, decoded_timeline, packet_timeline
from fmanet_cli.video.write.codecs import CODECS, EncoderOptions, find_codec
from fmanet_cli.video.write.containers import Container
from fmanet_cli.video.write.plan import CONTAINERS_WITHOUT_ORIGIN, OutputPlan
from fmanet_cli.video.write.planning import plan_output
from fmanet_cli.video.write.sizes import check_size, output_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a run was asked for, where only its files are left; the defaults are those of `fmanet restore`.

    From this and the source the plan of the run is made once more.
    """

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
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    """Codec and pixel format; None in it = any codec, and what suits the source."""

    def __post_init__(self) -> None:
        check_size(self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a run itself knows of its source, of which not everything can be read twice."""

    timeline: Timeline
    """The frames that were read."""
    originals: Originals
    """Images of some of them."""
    shift_seconds: Fraction
    """What the writer added to every timestamp."""
    damaged: int = 0
    """Places of the source that could not be read."""


def verify(
    source: str | Path, output: str | Path, *, expectation: Expectation | None = None, decodes: bool = True
) -> VerificationResult:
    """Hold a restored copy against its source, of which only the files are there.

    Args:
        source: what was restored.
        output: file or image sequence pattern.
        expectation: what the run was asked for.
        decodes: whether the output's frames are decoded to prove that they can be, rather than only counted as packets.

    Raises:
        VideoReadError: one of the two cannot be read as video.
        OptionError: one of the two is a pipe, or the expectation is impossible.
    """
    if "-" in (str(source), str(output)):
        raise OptionError("verify needs two files; what went through a pipe is gone")
    began, requested = time.perf_counter(), expectation or Expectation()
    with _reader_of_output(str(output)) as reader:
        plan = _plan_again(str(source), reader.info, requested)
        old = _inspect_source(plan, None)
        originals = Originals(plan)
        if decodes:
            originals.read_again(len(old.timeline.pts), colour=requested.colour)
        new, row = _inspect_output(reader, originals, decodes=decodes)
    result = _Comparison(old, new, plan, None, row).result(str(source), str(output), began)
    if old.timeline.origin == "packets" and any(found.what == "timestamps" for found in result.differences):
        # A packet with a wrong time stands elsewhere among the others than its frame does; only a decoder, with which
        # a run reads, knows the frame's place.
        old = replace(old, timeline=decoded_timeline(plan.like))
        result = _Comparison(old, new, plan, None, row).result(str(source), str(output), began)
    return result


def prove(plan: OutputPlan, output: str | Path, run: RunFacts) -> VerificationResult:
    """Hold a finished output against its plan, and against what the run has seen of the source.

    Args:
        plan: what was to be written.
        output: file or image sequence pattern.
        run: what the run knows.

    Raises:
        VideoReadError: the output cannot be read as video, or the source not again.
    """
    began = time.perf_counter()
    old = _inspect_source(plan, run)
    with _reader_of_output(str(output)) as reader:
        new, row = _inspect_output(reader, run.originals, decodes=True)
    return _Comparison(old, new, plan, run, row).result(plan.like.path, str(output), began)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """What is known of one of the two files."""

    info: VideoInfo
    container: Container
    timeline: Timeline
    video: Track | None = None
    tracks: tuple[Track, ...] = ()
    problem: str = ""
    sound_starts: Mapping[int, Fraction] = field(default_factory=dict)


def _reader_of_output(path: str) -> SamplingReader:
    return SamplingReader(path, on_error="continue", deinterlace="off", dolby_vision="ignore")


def _plan_again(path: str, output: VideoInfo, requested: Expectation) -> OutputPlan:
    """The plan of the run, as far as the files and what was requested tell it."""
    with VideoReader(
        path,
        start_seconds=requested.start_seconds,
        end_seconds=requested.end_seconds,
        on_error="continue",
        deinterlace="off",
        colour=requested.colour,
        stream=requested.stream,
        dolby_vision="ignore",
    ) as reader:
        source = reader.info
    height, width = output_size(
        source.height, source.width, scale=requested.scale, size=requested.size, aspect=source.sample_aspect_ratio
    )

    def planned(codec: str | None) -> OutputPlan:
        return plan_output(
            output.path,
            like=source,
            size=(height, width),
            encoder=replace(requested.encoder, codec=codec),
            audio=requested.audio,
            container=container_of_file(output),
            rehearses=False,
        )

    usual = find_codec(container_of_file(output).default_codec)
    if output.container == "image2" or requested.encoder.codec is not None or usual.family == output.codec:
        return planned(requested.encoder.codec)
    # Several encoders make the same kind of video, and not all of them in every depth.
    plans = [planned(codec.name) for codec in CODECS.values() if codec.family == output.codec] or [planned(None)]
    return next((plan for plan in plans if plan.bit_depth == output.bit_depth), plans[0])


def _inspect_source(plan: OutputPlan, run: RunFacts | None) -> _Side:
    info = plan.like
    if info.is_pipe or info.container == "image2":
        timeline = run.timeline if run is not None else decoded_timeline(info)
        return _Side(info=info, container=IMAGE_SEQUENCE, timeline=timeline)
    found = inspect(info, span=_span(info, run), plan=plan.streams)
    times = packet_timeline(info, found.packets) if run is None or not run.damaged else None
    if times is None:
        times = run.timeline if run is not None else decoded_timeline(info)
    return _side(info, found, times)


def _inspect_output(
    reader: SamplingReader, originals: Originals, *, decodes: bool
) -> tuple[_Side, VerificationRow | None]:
    """What is known of the output, and whether it shows the source; it is decoded once, unless packets suffice."""
    info = reader.info
    if info.container == "image2" or decodes:
        comparison = FrameComparison(originals)
        reader.wanted = comparison.places
        times: Timeline | None = reader.timeline(comparison.look)
        row = comparison.row() if times is not None and len(times.pts) == originals.count else None
    else:
        times, row = None, None
    if info.container == "image2":
        assert times is not None
        return _Side(info=info, container=IMAGE_SEQUENCE, timeline=times), row
    found = inspect(info)
    return _side(info, found, times or packet_timeline(info, found.packets) or decoded_timeline(info)), row


def _side(info: VideoInfo, found: Inspection, timeline: Timeline) -> _Side:
    return _Side(
        info=info,
        container=container_of_file(info),
        timeline=timeline,
        video=next((track for track in found.tracks if track.index == info.stream_index), None),
        tracks=tuple(track for track in found.tracks if track.index != info.stream_index),
        problem=found.packets.problem,
        sound_starts=found.sound_starts,
    )


def _span(info: VideoInfo, run: RunFacts | None) -> Span:
    """The part of the other streams that goes with the requested part of the video."""
    start = info.trim_start_seconds
    if start is not None:
        start = run.timeline.first_seconds if run is not None else _decoded_start(info)
    end = info.trim_end_seconds
    return Span(start, None if end is None else info.start_seconds + end)


def _decoded_start(info: VideoInfo) -> Fraction:
    """When the first frame of a requested part is shown."""
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
    """Two inspected files, and what was to become of the one."""

    def __init__(
        self, source: _Side, output: _Side, plan: OutputPlan, run: RunFacts | None, likeness: VerificationRow | None
    ):
        self.source, self.output = source, output
        self._plan, self._run, self._likeness = plan, run, likeness

    def result(self, source: str, output: str, began: float) -> VerificationResult:
        """Everything compared; `began`: when that was begun, by `time.perf_counter`."""
        return VerificationResult(
            source=source,
            output=output,
            rows=tuple(self._rows()),
            notes=tuple(self._notes()),
            source_times=self.source.timeline.origin,
            output_times=self.output.timeline.origin,
            seconds=time.perf_counter() - began,
        )

    def _rows(self) -> list[VerificationRow]:
        """In a fixed order."""
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
        promised = self._plan.marks if self._run is not None else NO_MARKS
        pair = VideoPair(output=output.info, plan=self._plan, container=output.container, promised=promised)
        rows.extend(video_rows(pair))
        if self._likeness is not None:
            rows.append(self._likeness)
        if source.video is not None and output.video is not None:
            rows.extend(stream_rows(self._streams_pair(shift)))
        elif source.tracks:
            rows.append(VerificationRow("other streams", str(len(source.tracks)), "none", Verdict.LOST))
        rows.extend(chapter_rows(source.info, output.info, output.container, shift))
        has_cover = any(track.kind == "cover" for track in output.tracks)
        rows.extend(tag_rows(source.info, output.info, output.container, has_cover=has_cover))
        damage = output.timeline.problems + bool(output.problem)
        rows.append(VerificationRow("damaged places", "0", str(damage), Verdict.DIFFERS if damage else Verdict.SAME))
        return rows

    def _notes(self) -> list[str]:
        """What could not be compared."""
        notes = []
        if self.source.info.is_pipe:
            notes.append("sound and other streams are not compared: the source came through a pipe")
        if self._run is not None and self._run.damaged:
            notes.append(f"the source is damaged in {self._run.damaged} places; its good frames are compared")
        if self.source.problem:
            notes.append(f"the source cannot be read to its end: {self.source.problem}")
        return notes

    def _free_shift_reason(self) -> str:
        """Why the output may start at another time than the source, when no run says by how much."""
        source, output = self.source, self.output
        if output.container.name in CONTAINERS_WITHOUT_ORIGIN:
            return f"{output.container.name} has no fixed start"
        if self._run is not None:
            return ""
        if {*CONTAINERS_WITHOUT_ORIGIN} & {*source.info.container.split(",")}:
            return "the source has no fixed start"
        if source.info.trim_start_seconds is not None:
            return "only a part was restored"
        if any(planned.how == "audio" for planned in self._plan.streams.streams) or self._earliest() < 0:
            return "the sound or the video starts before 0"
        return ""

    def _earliest(self) -> Fraction:
        packets = [track.packets for track in self.source.tracks if track.packets is not None and track.packets.pts]
        return min([self.source.timeline.first_seconds, *(found.pts[0] * found.time_base for found in packets)])

    def _streams_pair(self, shift: Fraction) -> StreamsPair:
        return StreamsPair(
            source=self.source.tracks,
            output=self.output.tracks,
            source_video=self.source.video,
            output_video=self.output.video,
            plan=self._plan.streams,
            container=self.output.container,
            shift_seconds=shift,
            sound_starts=self.source.sound_starts,
        )
