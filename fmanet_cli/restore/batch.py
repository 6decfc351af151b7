"""Many videos restored one after the other; one that fails never stops the rest."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import (
    DeviceLostError,
    FmanetError,
    OptionError,
    OutputBusyError,
    UnexpectedError,
    VideoWriteError,
)
from fmanet_cli.files import VIDEO_SUFFIXES
from fmanet_cli.restore.folder import FolderContent, search_folder
from fmanet_cli.restore.job import RestoreJob, RestoreProgress, RestoreReport, RestoreSettings, deciding_options
from fmanet_cli.restore.journal import remove_leftover, weights_digest
from fmanet_cli.restore.records import UNRECORDED, Records
from fmanet_cli.restore.span_pool import SpanPool
from fmanet_cli.shots.detector import is_cut_list
from fmanet_cli.verify.result import VerificationResult
from fmanet_cli.video.write.containers import CONTAINERS


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One video of a batch."""

    source: Path
    """The input."""
    target: Path
    """Where its restored copy goes."""
    skip_reason: str = ""
    """Why it is left alone; empty = it is restored."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """How one video ended: exactly one of report, skipped and error is there."""

    item: BatchItem
    """The video."""
    report: RestoreReport | None = None
    """Of a finished run."""
    error: FmanetError | None = None
    """Why it failed."""
    verification: VerificationResult | None = None
    """How the output stood to the source, where that is why it failed."""

    @property
    def state(self) -> str:
        """`done`, `skipped` or `failed`."""
        if self.report is not None:
            return "done"
        return "failed" if self.error is not None else "skipped"


@dataclass(frozen=True, slots=True)
class BatchEvent:
    """Something that happened: a frame of the current video, or its end."""

    item: BatchItem
    """The current video."""
    progress: RestoreProgress | None = None
    """While it runs."""
    result: BatchResult | None = None
    """When it has ended."""


def plan_folder(content: FolderContent | Path, target: Path) -> list[BatchItem]:
    """The videos of a folder and their targets; the tree is mirrored.

    content: what `search_folder` has found, or the folder, of which then all videos are taken.

    Raises:
        OptionError: `content` is no folder, holds no video, or two videos would get the same target.
    """
    if isinstance(content, Path):
        content = search_folder(content, without=target)
    if not content.videos:
        raise OptionError(f"no video in {content.folder} was found; known suffixes: {' '.join(sorted(VIDEO_SUFFIXES))}")
    return _plan([(path, writable_path(target / path.relative_to(content.folder))) for path in content.videos])


def plan_files(sources: Sequence[Path], folder: Path, *, suffix: str = "", overwrite: bool = False) -> list[BatchItem]:
    """Several files into one folder, each under its own name plus `suffix`.

    Raises:
        OptionError: two files would get the same target, or one exists.
    """
    items = _plan([(path, writable_path(folder / f"{path.stem}{suffix}{path.suffix}")) for path in sources])
    return [_refuse_existing(item) for item in items] if not overwrite else items


def run_batch(
    items: Sequence[BatchItem],
    restorer: Restorer,
    *,
    settings: RestoreSettings,
    model_name: str = "",
    records: Records | None = None,
    pool: SpanPool | None = None,
) -> Generator[BatchEvent, None, None]:
    """Restores every item; yields the progress of each and its end.

    Videos that another run is at work on are looked at again when all others are done.

    Args:
        items: what goes where.
        restorer: the network.
        settings: how each is read and written.
        model_name: what the reports call the weights.
        records: what is known of finished outputs, which are then skipped; None makes them an error.
        pool: workers that share each video; None = this process does it.

    After a device is lost, nothing more is begun: each remaining item has failed.

    Raises:
        OptionError: several videos, but one list of cuts.
    """
    if len(items) > 1 and is_cut_list(settings.scene_detect):
        raise OptionError(f"the cuts in {settings.scene_detect} belong to one video, got {len(items)}")
    batch = _Batch(restorer, settings, model_name, records, pool)
    for item in items:
        yield from batch.run(item)
    for item in tuple(batch.taken):
        yield from batch.run(item, is_last=True)


@dataclass(slots=True)
class _Batch:
    """One walk over videos."""

    restorer: Restorer
    settings: RestoreSettings
    model_name: str
    records: Records | None
    pool: SpanPool | None = None
    taken: list[BatchItem] = field(default_factory=list)
    lost: DeviceLostError | None = None
    """Why nothing more can be computed."""
    _began_ns: int = field(default_factory=time.time_ns)
    _weights: str = ""

    def run(self, item: BatchItem, *, is_last: bool = False) -> Generator[BatchEvent, None, None]:
        """One video, its exceptions as its result."""
        job = RestoreJob(
            item.source,
            item.target,
            self.restorer,
            settings=self.settings,
            model_name=self.model_name,
            pool=self.pool,
        )
        try:
            if reason := item.skip_reason or self._reason_to_skip(item):
                yield BatchEvent(item, result=BatchResult(replace(item, skip_reason=reason)))
                return
            if self.lost is not None:
                raise DeviceLostError(f"not begun: {self.lost}")
            with _made_folders(item.target.parent):
                for progress in job.run():
                    yield BatchEvent(item, progress=progress)
            self._remember(item, job)
        except OutputBusyError as error:
            if self.records is None:
                yield BatchEvent(item, result=BatchResult(item, error=error))
            elif is_last:
                yield BatchEvent(item, result=BatchResult(replace(item, skip_reason="taken by another run")))
            else:
                self.taken.append(item)
        except Exception as error:
            if isinstance(error, DeviceLostError):
                self.lost = self.lost or error
            yield BatchEvent(item, result=BatchResult(item, error=_own(error), verification=job.verification))
        else:
            yield BatchEvent(item, result=BatchResult(item, report=job.report))

    def _reason_to_skip(self, item: BatchItem) -> str:
        if self.records is None or not os.path.lexists(item.target):
            return ""
        remove_leftover(item.target)
        state = self.records.state(item.source, item.target, self._choices())
        is_new = item.target.stat().st_mtime_ns >= self._began_ns
        # Another run writes its record a moment after its output has its name.
        if is_new and (state.startswith("finished") or state == UNRECORDED):
            return "finished by another run meanwhile"
        return "" if self.settings.overwrite else state

    def _remember(self, item: BatchItem, job: RestoreJob) -> None:
        if self.records is None:
            return
        with contextlib.suppress(OSError):
            self.records.write(item.source, item.target, self._choices(), verified=job.verification is not None)

    def _choices(self) -> dict[str, object]:
        self._weights = self._weights or weights_digest(self.restorer.model)
        return {"options": deciding_options(self.settings), "weights": self._weights}


@contextlib.contextmanager
def _made_folders(folder: Path) -> Generator[None, None, None]:
    """Make a folder; those that had to be made go again when the block fails and leaves them empty."""
    missing = [part for part in (folder, *folder.parents) if not os.path.lexists(part)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VideoWriteError(f"the folder {folder} cannot be made: {error.strerror or error}") from error
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for part in missing:
                part.rmdir()
        raise


def _own(error: Exception) -> FmanetError:
    if isinstance(error, FmanetError):
        return error
    unexpected = UnexpectedError(f"{type(error).__name__}: {error}")
    unexpected.__cause__ = error
    return unexpected


def writable_path(path: Path) -> Path:
    """`path`, as .mkv where its own suffix means a container that is only read."""
    written = {suffix for container in CONTAINERS for suffix in container.suffixes}
    return path if path.suffix.lower() in written else path.with_suffix(".mkv")


def _plan(pairs: list[tuple[Path, Path]]) -> list[BatchItem]:
    seen: dict[Path, Path] = {}
    for source, target in pairs:
        if target in seen:
            raise OptionError(f"{seen[target]} and {source} would both become {target}; restore them one by one")
        seen[target] = source
    return [BatchItem(source, target) for source, target in pairs]


def _refuse_existing(item: BatchItem) -> BatchItem:
    if os.path.lexists(item.target):
        raise OptionError(f"{item.target} exists; choose another name or overwrite it", remedy="overwrite")
    return item
