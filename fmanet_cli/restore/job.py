"""One video restored: reader, network and writer joined, with a report at the end."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fmanet_cli.engine.device_errors import device_errors
from fmanet_cli.engine.memory import free_memory
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.run import RestorationRun
from fmanet_cli.errors import OptionError, VerificationError
from fmanet_cli.files import bytes_text
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.notes import Notes
from fmanet_cli.restore.journal import Journal, OutputLock, agreeing, is_resumable, run_identity
from fmanet_cli.restore.outcome import RestoreProgress, RestoreReport
from fmanet_cli.restore.settings import RestoreSettings, deciding_options
from fmanet_cli.restore.span_pool import SpanPool
from fmanet_cli.restore.span_worker import FilmTask, SpanResult
from fmanet_cli.restore.spans import span_tasks
from fmanet_cli.restore.stages import in_this_process, noted
from fmanet_cli.shots.detector import ShotMarker
from fmanet_cli.verify.compare import RunFacts, prove
from fmanet_cli.verify.likeness import Originals
from fmanet_cli.verify.result import VerificationResult, summary
from fmanet_cli.video.frames import Frame
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.read.timeline import TimelineRecorder
from fmanet_cli.video.write.plan import OutputPlan
from fmanet_cli.video.write.side_packets import SidePackets, opened_side_packets
from fmanet_cli.video.write.writer import VideoWriter

log = logging.getLogger(__name__)


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
        """Yield once before the first frame and after every frame; the target appears at the end.

        Raises:
            FmanetError: the input cannot be read, the output not written, or memory does not suffice.
        """
        began = time.perf_counter()
        with (
            device_errors(self._restorer.device),
            VideoReader(self.source, **self._settings.reading, notes=self._notes) as reader,
            opened_side_packets(reader.info) as side,
        ):
            plan = self._settings.plan(self.target, reader.info, source=reader, side=side)
            yield from self._execute(plan, reader, side, began)

    def _execute(
        self, plan: OutputPlan, reader: VideoReader, side: SidePackets | None, began: float
    ) -> Iterator[RestoreProgress]:
        """Restore and write as planned; `began`: when the job was begun, by `time.perf_counter`."""
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
                source_look=settings.source_look,
                notes=self._notes,
            )
            log.debug("%s: %s", self.source, restoration.tiling)
            log.debug("free memory: %s", bytes_text(free_memory(self._restorer.device)))
            done = kept = writer.frames_written
            yield RestoreProgress(done, reader.info.frame_count)
            recorder, originals = TimelineRecorder(reader.info.time_base), Originals(plan)
            stages: defaultdict[str, float] = defaultdict(float)
            read = agreeing(reader, journal.segments.pts) if journal is not None and kept else reader
            # Who shares the film among workers tells the grid by itself.
            grid = journal.segments.grid if journal is not None and self._pool is None else None
            frames = noted(marker.mark(read), recorder, originals if settings.verify else None, grid, stages)
            steps = (
                self._by_workers(self._pool, frames, reader, writer, restoration, journal)
                if self._pool is not None
                else in_this_process(frames, writer, restoration, journal, stages)
            )
            with contextlib.closing(steps):
                for count in steps:
                    done += count
                    yield RestoreProgress(done, reader.info.frame_count)
            log.debug("seconds: %s", ", ".join(f"{name} {spent:.1f}" for name, spent in stages.items()))
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
        self.report = self._report(reader, writer, marker, restoration, seconds, dict(stages), frames_resumed=kept)

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
        """Have the chosen spans restored elsewhere as far as they are missing; yield how many more frames are done."""
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
            source_look=self._settings.source_look,
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
        """Compare the finished file while it still has its temporary name."""
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
            source_look=self._settings.source_look,
            warnings=tuple(dict.fromkeys(warnings)),
            verification=self.verification,
        )


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
