"""One part of a film restored, and the finished parts joined."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.tiling import Tiling
from fmanet_cli.errors import OptionError, ResumeError, VideoReadError, WeightsError
from fmanet_cli.model.config import FMANetConfig
from fmanet_cli.model.fmanet import random_model
from fmanet_cli.restore.job import RestoreJob
from fmanet_cli.restore.journal import Journal, differences, is_resumable, journal_folder, source_facts
from fmanet_cli.restore.outcome import RestoreProgress
from fmanet_cli.restore.parts import Part, PartJournal, PartNote, read_notes
from fmanet_cli.restore.settings import RestoreSettings, stored_settings
from fmanet_cli.restore.span_pool import SpanPool
from fmanet_cli.restore.workers import LocalWorker
from fmanet_cli.shots.detector import ShotMarker
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.plan import OutputPlan
from fmanet_cli.video.write.segments import SegmentFolder
from fmanet_cli.video.write.side_packets import SidePackets

_PARTS_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PartReport:
    """What a finished part did."""

    part: Part
    """Which it was."""
    frames: int
    """Frames in it."""
    frames_resumed: int
    """Of these, how many were there already."""
    seconds: float
    """Wall time."""
    warnings: tuple[str, ...]
    """What was guessed or changed on the way."""


class PartJob(RestoreJob):
    """Restores one part of a film into the folder beside the output; `run` yields the progress of this part.

    Every command reads the whole film, so that all know the same shots and spans, and restores every N-th span.
    """

    def __init__(
        self,
        source: str | Path,
        target: str | Path,
        restorer: Restorer,
        *,
        part: Part,
        settings: RestoreSettings | None = None,
        model_name: str = "",
        pool: SpanPool | None = None,
    ) -> None:
        """As for `RestoreJob`; raise OptionError where the output cannot be made in parts."""
        super().__init__(source, target, restorer, settings=settings, model_name=model_name, pool=pool)
        self._part = part
        self.part_report: PartReport | None = None
        """Set when the part is finished."""
        if not self._settings.segment_frames or not is_resumable(self.source, self.target):
            raise OptionError(f"a part needs files as input and output, and segments; got {self.source}, {self.target}")
        if not self._settings.resume:
            raise OptionError(
                f"a part cannot begin anew, for the others; remove {journal_folder(Path(self.target))} before the first"
            )

    def _execute(
        self, plan: OutputPlan, reader: VideoReader, side: SidePackets | None, began: float
    ) -> Iterator[RestoreProgress]:
        settings, part = self._settings, self._part
        marker = ShotMarker(settings.scene_detect, threshold=settings.scene_threshold)
        with (
            self._part_journal(plan) as journal,
            self._writer(plan, reader, side, journal) as writer,
            contextlib.ExitStack() as stack,
        ):
            restoration = self._restorer.start(
                reader.info.height, reader.info.width, tiling=journal.tiling, notes=self._notes
            )
            pool = self._pool or stack.enter_context(SpanPool([lambda: LocalWorker(self._restorer)]))
            count = reader.info.frame_count
            expected = None if count is None else -(-count // part.count)
            done = 0
            yield RestoreProgress(done, expected)
            frames = marker.mark(reader)
            steps = self._by_workers(pool, frames, reader, writer, restoration, journal, chosen=part.has)
            with contextlib.closing(steps):
                for more in steps:
                    done += more
                    yield RestoreProgress(done, expected)
            reader.check_unchanged()
            spans = part.spans(journal.segments.grid.spans())
            warnings = tuple(dict.fromkeys((*restoration.warnings, *reader.problems, *marker.warnings)))
            journal.note_done(
                {
                    "source": str(Path(self.source).absolute()),
                    "frames": journal.segments.grid.frames_passed,
                    "spans": spans,
                    "shots": marker.shots,
                    "settings": asdict(settings),
                    "model": self._model_name,
                    "device": str(self._restorer.device),
                    "precision": restoration.precision,
                    "tiling": asdict(journal.tiling or restoration.tiling),
                    "warnings": warnings,
                }
            )
            writer.abort()
        frames_in_part = sum(last - first for first, last in spans)
        self.part_report = PartReport(
            part=part,
            frames=frames_in_part,
            frames_resumed=frames_in_part - done,
            seconds=time.perf_counter() - began,
            warnings=warnings,
        )

    def _part_journal(self, plan: OutputPlan) -> PartJournal:
        return PartJournal(
            Path(self.target),
            self._identity(plan),
            self._part,
            segment_frames=self._settings.segment_frames,
            overwrite=self._settings.overwrite,
        )


class JoinJob(RestoreJob):
    """Joins the parts of a film, once all are there; `run` yields the progress of reading it, `report` tells of all."""

    def __init__(
        self, target: str | Path, *, source: str | Path | None = None, overwrite: bool = False, verifies: bool = True
    ) -> None:
        """Look whether all parts are there.

        Args:
            target: the output that was given to each part.
            source: where the film is now; None = where the first part has found it.
            overwrite: replace an existing target.
            verifies: hold the joined file against the source before it gets its name.

        Raises:
            ResumeError: parts are missing, damaged, or of different runs.
            VideoReadError: the source is gone or another file.
        """
        folder = journal_folder(Path(target))
        self._parts = checked_notes(folder, Path(target))
        first = self._parts[0]
        # Cuts are not looked for again: nothing is restored.
        settings = stored_settings(first.facts["settings"], overwrite=overwrite, verify=verifies, scene_detect="off")
        source = str(source or first.facts["source"])
        _check_source(source, first.run["source"])
        super().__init__(source, target, _without_network(), settings=settings, model_name=str(first.facts["model"]))
        check_segments(SegmentFolder(folder, frames=settings.segment_frames, is_shared=True), self._parts)

    @property
    def part_count(self) -> int:
        """How many parts are joined."""
        return len(self._parts)

    def run(self) -> Iterator[RestoreProgress]:
        """As `RestoreJob.run`."""
        yield from super().run()
        facts = [note.facts for note in self._parts]
        assert self.report is not None
        said = [warning for fact in facts for warning in fact["warnings"]] + list(self.report.warnings)
        if len({str(fact["tiling"]) for fact in facts}) > 1:
            said.append("parts were computed in tiles of different sizes, an approximation; choose one for all")
        self.report = replace(
            self.report,
            frames_resumed=self.report.frames,
            shots=facts[0]["shots"],
            device=", ".join(dict.fromkeys(fact["device"] for fact in facts)),
            precision=", ".join(dict.fromkeys(fact["precision"] for fact in facts)),
            tiling=Tiling(**facts[0]["tiling"]),
            warnings=tuple(dict.fromkeys(said)),
        )

    def _journal(self, plan: OutputPlan) -> Journal:  # noqa: ARG002 - the plan is that of the parts
        return Journal(
            Path(self.target),
            self._parts[0].run,
            segment_frames=self._settings.segment_frames,
            overwrite=self._settings.overwrite,
        )


def checked_notes(folder: Path, target: Path) -> list[PartNote]:
    """The notes of all parts of an output. Raises ResumeError unless all are there and of one run."""
    notes, name = read_notes(folder), target.name
    if not notes and target.exists():
        raise ResumeError(
            f"{target} is there already, and no part of it is left to be joined; 'fmanet verify' tests it"
        )
    if not notes:
        raise ResumeError(f"no part of {name} is finished in {folder}; restore its parts first", remedy="part=1/N")
    count = notes[0].part.count
    for one, other in pairwise(notes):
        if other.part.count != count:
            raise ResumeError(f"{folder} holds part {one.part} and part {other.part}; remove those of one kind")
        if other.run != one.run or other.facts["frames"] != one.facts["frames"]:
            different = differences({**one.run, **_seen(one)}, {**other.run, **_seen(other)})
            raise ResumeError(f"part {other.part} of {name} is of another run than part {one.part}: {different}")
    there = {note.part.number for note in notes}
    if missing := [number for number in range(1, count + 1) if number not in there]:
        shown = ", ".join(map(str, missing[:_PARTS_SHOWN])) + (" ..." if len(missing) > _PARTS_SHOWN else "")
        parts = "parts" if len(missing) > 1 else "part"
        raise ResumeError(
            f"{parts} {shown} of {count} of {name} missing; restore them first", remedy=f"part={missing[0]}/{count}"
        )
    return notes


def check_segments(segments: SegmentFolder, notes: Sequence[PartNote]) -> None:
    """Raise ResumeError for a part of which a segment is missing or damaged."""
    for note in notes:
        for first, last in note.facts["spans"]:
            if gap := next(segments.gaps(first, last), None):
                raise ResumeError(
                    f"part {note.part} lacks frames {gap[0]} to {gap[1] - 1}, missing or damaged in {segments.folder}; "
                    "run that part again"
                )


def _seen(note: PartNote) -> dict[str, Any]:
    return {"frames": note.facts["frames"]}


def _check_source(source: str, facts: Mapping[str, Any]) -> None:
    try:
        found = source_facts(source)
    except OSError as error:
        raise VideoReadError(
            f"{source} cannot be read: {error.strerror or error}; say where it is", remedy="source"
        ) from error
    wanted = {name: facts[name] for name in found}
    if found != wanted:
        raise VideoReadError(f"{source} is not what the parts were made from: {differences(wanted, found)}")


class _NoWindows:
    """Stands for a network where no window is left to be computed."""

    def frame_state(self, image: Any) -> Any:  # noqa: ARG002
        raise WeightsError("a frame is missing in the parts; run them again")

    window = frame_state


def _without_network() -> Restorer:
    smallest = FMANetConfig(
        dim=3, num_rdbs=1, growth=1, num_dense_layers=1, num_flows=1, num_frma_blocks=1, num_heads=1
    )
    return Restorer(random_model(smallest, seed=0), device="cpu", precision="fp32", runner=_NoWindows())
