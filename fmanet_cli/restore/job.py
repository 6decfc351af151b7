"""One video restored: reader, network and writer joined, with a report at the end."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fmanet_cli.engine.device_errors import device_errors
from fmanet_cli.engine.memory import free_memory
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.run import RestorationRun, no_frame
from fmanet_cli.engine.strength import check_strength
from fmanet_cli.engine.tiling import Tiling
from fmanet_cli.errors import OptionError, VerificationError
from fmanet_cli.files import read_text
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.notes import Notes
from fmanet_cli.restore.journal import Journal, OutputLock, agreeing, is_resumable, run_identity
from fmanet_cli.restore.pipeline import BackgroundConsumer, prefetched
from fmanet_cli.restore.span_pool import SpanPool
from fmanet_cli.restore.span_worker import QUEUE_FRAMES, FilmTask, SpanResult, restored_frames
from fmanet_cli.restore.spans import span_tasks
from fmanet_cli.restore.stage_clock import StageClock
from fmanet_cli.shots.detector import DEFAULT_THRESHOLD, ShotMarker, check_threshold, is_cut_list
from fmanet_cli.verify.compare import RunFacts, prove
from fmanet_cli.verify.pictures import Originals
from fmanet_cli.verify.result import VerificationResult, summary
from fmanet_cli.video.frames import Frame
from fmanet_cli.video.read.rational import parse_frame_rate
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.read.timeline import TimelineRecorder
from fmanet_cli.video.write.codecs import EncoderOptions
from fmanet_cli.video.write.containers import named_container
from fmanet_cli.video.write.plan import OutputPlan
from fmanet_cli.video.write.planning import plan_output
from fmanet_cli.video.write.side_packets import SidePackets, opened_side_packets
from fmanet_cli.video.write.sizes import check_size, output_size
from fmanet_cli.video.write.writer import VideoWriter

log = logging.getLogger(__name__)

SEGMENT_FRAMES = 240
"""Frames that a crash costs at most. Each segment begins with a key frame, which x264 places every 250 frames anyway.
480 frames of a still camera grew by 156 % at 60, by 56 % at 120 and by 2 % at 240; those that move by 1.4 % at 60 and
not from 120 on. The encoder took 2 to 11 % more processor time (2026-11-27)."""

WAITING_FOR_DECODER = "the network waiting for frames"
WAITING_FOR_ENCODER = "the network waiting for the encoder"
"""Two of the stages of `RestoreReport.stage_seconds`: which part of a run holds up the others."""

_WITHOUT_EFFECT_ON_FRAMES = {"overwrite", "strict", "verify", "resume", "keep_partial"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSettings:
    """How a video is read and written; the network, device and tiles are the restorer's."""

    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    """Codec, quality, speed and pixel format."""
    overwrite: bool = False
    """Replace an existing target."""
    scale: int = 4
    """Output size over input size: 4, 2 or 1 (deblurring only). The network runs at 4."""
    size: str | None = None
    """Output size instead of `scale`: `WxH`, or a shorter side such as `1080p` with the other that keeps the shape."""
    strength: float = 1.0
    """Share of the network's result in each frame, in [0, 1]; the rest is the source enlarged by bicubic
    interpolation."""
    audio: str = "copy"
    """`copy`, `aac` or `none`."""
    strict: bool = False
    """Refuse before the run what the target cannot keep."""
    start_seconds: float | None = None
    """Restore from here on."""
    end_seconds: float | None = None
    """Restore up to here, not included."""
    on_error: str = "stop"
    """At damaged input: `stop`, or `continue` with the good frames."""
    stream: int | None = None
    """Index of the video stream; None = the moving one that is marked as default, or has most pixels."""
    dolby_vision: str = "refuse"
    """Of streams whose colours only Dolby Vision knows (profile 5): `refuse`, or `ignore` and take them as they are."""
    frame_rate: str | None = None
    """Of numbered images and raw streams, such as `24000/1001`; None = 25, or what the stream says."""
    container: str | None = None
    """Of the output, such as `nut` or `y4m`; None = what the suffix says, and Matroska for standard output."""
    deinterlace: str = "auto"
    """`auto`, `off`, `bwdif` or `yadif`."""
    colour: str = "auto"
    """How untagged or wrongly tagged pixels are read, such as `bt709`."""
    scene_detect: str = "auto"
    """Where shots begin, which are restored apart: `auto`, `off`, or a text file with one frame number on a line."""
    scene_threshold: float = DEFAULT_THRESHOLD
    """Of `auto`: share of a frame's contrast that the frame before must leave unexplained at a cut."""
    verify: bool = True
    """Hold the finished file against the source before it gets its name."""
    resume: bool = True
    """Go on where an interrupted run of the same settings ended; False begins anew."""
    keep_partial: bool = False
    """When the run is interrupted, leave what is done so far as a playable file beside the target."""
    segment_frames: int = SEGMENT_FRAMES
    """Frames in each closed piece that a crash leaves; 0 = one piece, of which a crash leaves nothing."""

    @property
    def reading(self) -> dict[str, Any]:
        """Options of `VideoReader`."""
        return {
            "start_seconds": self.start_seconds,
            "end_seconds": self.end_seconds,
            "on_error": self.on_error,
            "stream": self.stream,
            "dolby_vision": self.dolby_vision,
            "frame_rate": None if self.frame_rate is None else parse_frame_rate(self.frame_rate),
            "deinterlace": self.deinterlace,
            "colour": self.colour,
        }

    def __post_init__(self) -> None:
        if self.segment_frames < 0:
            raise OptionError(f"segment_frames must be at least 0, got {self.segment_frames}")
        check_threshold(self.scene_threshold)
        if is_cut_list(self.scene_detect) and self.start_seconds:
            raise OptionError(
                f"the cuts in {self.scene_detect} count from the first frame of the video; "
                f"they cannot be used with a start at {self.start_seconds} s"
            )
        if self.scale not in (1, 2, 4):
            raise OptionError(f"scale must be 4, 2 or 1, got {self.scale}")
        check_size(self.size)
        check_strength(self.strength)
        if self.frame_rate is not None:
            parse_frame_rate(self.frame_rate)
        if self.container is not None:
            named_container(self.container)


@dataclass(frozen=True, slots=True)
class RestoreProgress:
    """How far a run is."""

    frames_done: int
    """Frames restored so far."""
    frames_expected: int | None
    """Estimate of all frames; None = unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport:
    """What a finished run did."""

    source: str
    """Path of the input."""
    target: str
    """Path of the output."""
    frames: int
    """Frames read and written."""
    frames_resumed: int = 0
    """Of these, how many an interrupted run had left."""
    shots: int | None
    """Shots that were restored apart; None = not looked for."""
    source_size: tuple[int, int]
    """(width, height) in pixels."""
    target_size: tuple[int, int]
    """(width, height) in pixels."""
    seconds: float
    """Wall time from opening the input to the finished file."""
    stage_seconds: dict[str, float] = field(default_factory=dict)
    """Wall time in each stage by its name, and in waiting for another one; they run side by side. Those of workers
    are not among them."""
    model: str
    """Name or path of the weights, empty if the caller did not say."""
    device: str
    """Where the network ran."""
    precision: str
    """`fp32`, `fp16` or `bf16`, at the end of the run."""
    tiling: Tiling
    """How frames were cut at the end of the run."""
    strength: float = 1.0
    """Share of the network's result in each frame."""
    warnings: tuple[str, ...]
    """What was lost, guessed or changed on the way."""
    verification: VerificationResult | None = None
    """How the output stands to the source; None where that was not asked for or the output was a pipe."""

    @property
    def frames_per_second(self) -> float:
        """Frames of this run over its whole time."""
        return (self.frames - self.frames_resumed) / self.seconds if self.seconds > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        verification = self.verification.as_dict() if self.verification is not None else None
        return {**asdict(self), "frames_per_second": self.frames_per_second, "verification": verification}


def _memory_text(free_bytes: int | None) -> str:
    return "the system does not say" if free_bytes is None else f"{free_bytes / 1e9:.1f} GB"


def deciding_options(settings: RestoreSettings) -> dict[str, Any]:
    """What of the settings decides over the frames of an output, a list of cuts by its digest too."""
    options = {name: value for name, value in asdict(settings).items() if name not in _WITHOUT_EFFECT_ON_FRAMES}
    if is_cut_list(settings.scene_detect):
        options["scene_cuts_sha256"] = hashlib.sha256(read_text(Path(settings.scene_detect)).encode()).hexdigest()
    return options


class RestoreJob:
    """Restores one video; `run` yields the progress and leaves the `report`."""

    def __init__(
        self,
        source: str | Path,
        target: str | Path,
        restorer: Restorer,
        *,
        settings: RestoreSettings | None = None,
        model_name: str = "",
        pool: SpanPool | None = None,
    ) -> None:
        """pool: workers that restore the spans of the film; None = this process does."""
        self.source, self.target = str(source), str(target)
        self.report: RestoreReport | None = None
        """Set when the run has ended well."""
        self.verification: VerificationResult | None = None
        """Set when the output was compared, also when it failed."""
        self._restorer = restorer
        self._settings = settings or RestoreSettings()
        self._model_name = model_name
        self._pool = pool
        self._notes = Notes()

    def run(self) -> Iterator[RestoreProgress]:
        """Yields once before the first frame and after every frame; the target appears at the end.

        Raises:
            FmanetError: the input cannot be read, the output not written, or memory does not suffice.
        """
        with device_errors(self._restorer.device):
            yield from self._run()

    def _run(self) -> Iterator[RestoreProgress]:
        began = time.perf_counter()
        settings = self._settings
        with (
            VideoReader(self.source, **settings.reading, notes=self._notes) as reader,
            opened_side_packets(reader.info) as side,
        ):
            plan = self._plan(reader, side)
            yield from self._execute(plan, reader, side, began)

    def _execute(
        self, plan: OutputPlan, reader: VideoReader, side: SidePackets | None, began: float
    ) -> Iterator[RestoreProgress]:
        """Restores and writes as planned; `began`: when the job was begun, by `time.perf_counter`."""
        settings = self._settings
        marker = ShotMarker(settings.scene_detect, threshold=settings.scene_threshold)
        with (
            self._journal(plan) as journal,
            self._writer(plan, reader, side, journal) as writer,
        ):
            restoration = self._restorer.start(
                reader.info.height,
                reader.info.width,
                tiling=journal.tiling if journal is not None else None,
                strength=settings.strength,
                notes=self._notes,
            )
            log.debug("%s: %s", self.source, restoration.tiling)
            log.debug("free memory: %s", _memory_text(free_memory(self._restorer.device)))
            done = kept = writer.frames_written
            yield RestoreProgress(done, reader.info.frame_count)
            recorder, originals = TimelineRecorder(reader.info.time_base), Originals(plan)
            seen = recorder.noting(originals.noting(reader) if settings.verify else reader)
            clock = StageClock()
            frames = marker.mark(agreeing(seen, journal.segments.pts if journal and kept else {}))
            frames = clock.timed("decoding and finding cuts", frames)
            steps = (
                self._by_workers(self._pool, frames, reader, writer, restoration, journal)
                if self._pool is not None
                else _in_this_process(frames, writer, restoration, journal, clock)
            )
            with contextlib.closing(steps):
                for count in steps:
                    done += count
                    yield RestoreProgress(done, reader.info.frame_count)
            log.debug("seconds: %s", ", ".join(f"{name} {spent:.1f}" for name, spent in clock.seconds.items()))
            log.debug("shots: %s; %s", "not looked for" if marker.shots is None else marker.shots, restoration.tiling)
            reader.check_unchanged()
            partial = writer.finish()
            if settings.verify and partial is not None:
                run = RunFacts(
                    timeline=recorder.timeline(),
                    originals=originals,
                    shift_seconds=writer.shift_seconds,
                    damaged=reader.problem_count,
                )
                self._verify(partial, reader, writer, run)
            if journal is not None and partial is not None:
                journal.note_whole(Path(partial))
        seconds = time.perf_counter() - began
        stages = dict(clock.seconds)
        self.report = self._report(reader, writer, marker, restoration, seconds, stages, frames_resumed=kept)

    def _by_workers(
        self,
        pool: SpanPool,
        frames: Iterable[Frame],
        reader: VideoReader,
        writer: VideoWriter,
        restoration: RestorationRun,
        journal: Journal | None,
        chosen: Callable[[int], bool] = lambda _: True,
    ) -> Generator[int, None, None]:
        """Has the chosen spans restored elsewhere as far as they are missing; yields how many more frames are done."""
        if journal is None or not writer.is_segmented:
            raise OptionError(
                f"{self.target} is written in one piece, which cannot be shared; "
                "use one worker, or a file with a codec other than raw video"
            )
        film = FilmTask(
            source=self.source,
            source_size=(reader.info.height, reader.info.width),
            reading=self._settings.reading,
            folder=journal.segments.folder,
            plan=writer.plan,
            tiling=restoration.tiling,
            strength=self._settings.strength,
        )
        radius = self._restorer.model.config.centre
        tasks = span_tasks(frames, film, journal.segments, radius=radius, chosen=chosen)

        def check(result: SpanResult) -> str:
            return journal.segments.take(result.first, result.frames)

        with contextlib.closing(pool.map(tasks, check=check)) as results:
            for result in results:
                if isinstance(result, int):
                    yield result
                else:
                    journal.note_tiling(result.tiling)
                    self._notes.add(*result.warnings)
        writer.take_segments()

    def _verify(self, partial: str, reader: VideoReader, writer: VideoWriter, run: RunFacts) -> None:
        """Compares the finished file while it still has its temporary name."""
        try:
            found = prove(writer.plan, partial, run)
        except Exception as error:
            reader.check_unchanged()
            # Whatever goes wrong here, hours of work are not thrown away.
            kept = writer.set_aside()
            raise VerificationError(
                f"{self.target} cannot be compared with its source: {error}; kept as {kept}"
            ) from error
        reader.check_unchanged()
        self.verification = replace(found, output=self.target)
        if wrong := self.verification.differences:
            raise VerificationError(
                f"{self.target} is not what {self.source} promises: {summary(wrong)}; kept as {writer.set_aside()}"
            )

    def _journal(self, plan: OutputPlan) -> contextlib.AbstractContextManager[Journal | None]:
        settings = self._settings
        if self.target == "-":
            return contextlib.nullcontext()
        if not settings.segment_frames or not is_resumable(self.source, self.target):
            return OutputLock(Path(self.target), overwrite=settings.overwrite)
        return Journal(
            Path(self.target),
            self._identity(plan),
            segment_frames=settings.segment_frames,
            resume=settings.resume,
            overwrite=settings.overwrite,
        )

    def _identity(self, plan: OutputPlan) -> dict[str, Any]:
        """All that decides over the frames of this run, whoever computes them."""
        identity = run_identity(self.source, self._restorer, deciding_options(self._settings), plan)
        if self._pool is not None:
            identity["engine"] |= self._pool.engine
        return identity

    def _writer(
        self, plan: OutputPlan, reader: VideoReader, side: SidePackets | None, journal: Journal | None
    ) -> VideoWriter:
        return VideoWriter(
            self.target,
            like=reader.info,
            overwrite=self._settings.overwrite,
            strict=self._settings.strict,
            source=reader,
            side=side,
            plan=plan,
            segments=journal.segments if journal is not None else None,
            keep_partial=self._settings.keep_partial,
            notes=self._notes,
        )

    def _plan(self, reader: VideoReader, side: SidePackets | None) -> OutputPlan:
        settings, info = self._settings, reader.info
        return plan_output(
            self.target,
            like=info,
            size=output_size(
                info.height,
                info.width,
                scale=settings.scale,
                size=settings.size,
                aspect=info.sample_aspect_ratio,
            ),
            encoder=settings.encoder,
            audio=settings.audio,
            container=settings.container,
            source=reader,
            side=side,
            in_segments=settings.segment_frames > 0,
        )

    def _report(
        self,
        reader: VideoReader,
        writer: VideoWriter,
        marker: ShotMarker,
        restoration: RestorationRun,
        seconds: float,
        stages: dict[str, float],
        *,
        frames_resumed: int,
    ) -> RestoreReport:
        late = writer.plan.late_losses(reader.late_marks)
        warnings = (*restoration.warnings, *late, *reader.problems, *marker.warnings)
        return RestoreReport(
            source=self.source,
            target=self.target,
            frames=writer.frames_written,
            frames_resumed=frames_resumed,
            shots=marker.shots,
            source_size=(reader.info.width, reader.info.height),
            target_size=(writer.width, writer.height),
            seconds=seconds,
            stage_seconds=stages,
            model=self._model_name,
            device=str(self._restorer.device),
            precision=restoration.precision,
            tiling=restoration.tiling,
            strength=self._settings.strength,
            warnings=tuple(dict.fromkeys(warnings)),
            verification=self.verification,
        )


def _in_this_process(
    frames: Iterable[Frame],
    writer: VideoWriter,
    restoration: RestorationRun,
    journal: Journal | None,
    clock: StageClock,
) -> Generator[int, None, None]:
    """Restores every frame that is not in a closed segment yet; yields 1 after each."""
    decoded = prefetched(frames if journal is None else journal.segments.grid.noting(frames), QUEUE_FRAMES)
    skips = journal.segments.holds if journal is not None else no_frame
    plane_format, size = writer.plane_format, (writer.height, writer.width)
    awaited = clock.timed(WAITING_FOR_DECODER, decoded)
    restored = restored_frames(restoration, awaited, plane_format, size, skips=skips)
    with (
        contextlib.closing(decoded),
        contextlib.closing(restored),
        BackgroundConsumer(clock.timing("encoding", writer.write), depth=QUEUE_FRAMES) as encoder,
    ):
        put = clock.timing(WAITING_FOR_ENCODER, encoder.put)
        for frame in clock.timed("the network, with its waiting for frames", restored):
            if journal is not None:
                journal.note_tiling(restoration.tiling)
            put(frame)
            yield 1


def restore_video(
    source: str | Path,
    target: str | Path,
    model: FMANet | Restorer,
    *,
    settings: RestoreSettings | None = None,
    model_name: str = "",
) -> RestoreReport:
    """Restore one video file.

    Args:
        source: video file, image sequence pattern such as `frames/%05d.png`, or `-` for standard input.
        target: file, pattern or `-` for standard output; the container follows from the suffix.
        model: a network (device and precision are chosen), or a `Restorer` with choices of its own.
        settings: how to read and write; the defaults keep everything of the source.
        model_name: what the report calls the weights.

    Returns:
        What was done; the target has its name by then.

    Raises:
        OptionError: a setting cannot be honoured.
        VideoReadError: the source cannot be read.
        DeviceError: the device fails, or its memory does not suffice.
        WeightsError: the network gives values that are no numbers.
        VerificationError: the output is not what the source promises; it is kept under another name.
        OutputExistsError: the target is there already, and `overwrite` is off.
        ResumeError: another run is writing the target, or what an earlier one left does not fit.
        VideoWriteError: the output cannot be written.
    """
    restorer = model if isinstance(model, Restorer) else Restorer(model)
    job = RestoreJob(source, target, restorer, settings=settings, model_name=model_name)
    for _ in job.run():
        pass
    assert job.report is not None
    return job.report
