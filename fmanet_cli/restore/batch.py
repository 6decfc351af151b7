"""Many videos restored one after the other; one that fails never stops the rest."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import (
    DeviceLostError,
    FmanetError,
    OptionError,
    OutputBusyError,
    VideoWriteError,
    as_own,
)
from fmanet_cli.files import made_folders
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.folder import Search
from fmanet_cli.restore.inputs import BatchItem, plan_inputs
from fmanet_cli.restore.job import RestoreJob
from fmanet_cli.restore.journal import remove_leftover, weights_digest
from fmanet_cli.restore.outcome import RestoreProgress, RestoreReport
from fmanet_cli.restore.records import UNRECORDED, Records
from fmanet_cli.restore.settings import RestoreSettings, deciding_options
from fmanet_cli.restore.span_pool import SpanPool
from fmanet_cli.shots.detector import is_cut_list
from fmanet_cli.verify.result import VerificationResult


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


def run_batch(
    items: Iterable[BatchItem],
    restorer: Restorer,
    *,
    settings: RestoreSettings,
    model_name: str = "",
    records: Records | None = None,
    pool: SpanPool | None = None,
) -> Generator[BatchEvent, None, None]:
    """Restore every item; yield the progress of each and its end.

    Videos that another run is at work on are looked at again when all others are done.

    Args:
        items: what goes where; they may also come one by one while others are restored.
        restorer: the network.
        settings: how each is read and written that has no settings of its own.
        model_name: what the reports call the weights.
        records: what is known of finished outputs, which are then skipped; None makes them an error.
        pool: workers that share each video; None = this process does it.

    After a device is lost, nothing more is begun: each remaining item has failed.

    Raises:
        OptionError: several videos, but one list of cuts.
    """
    if is_cut_list(settings.scene_detect):
        sharing = sum(item.settings is None for item in items) if isinstance(items, Sequence) else None
        if sharing != 1:
            count = "many" if sharing is None else sharing
            raise OptionError(f"the cuts in {settings.scene_detect} belong to one video, got {count}")
    batch = _Batch(restorer, settings, model_name, records, pool)
    for item in items:
        yield from batch.run(item)
    for item in tuple(batch.taken):
        yield from batch.run(item, is_last=True)


def restore_folder(
    folder: str | Path,
    target: str | Path,
    model: FMANet | Restorer,
    *,
    settings: RestoreSettings | None = None,
    recursive: bool = True,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    suffix: str = "",
    model_name: str = "",
    on_event: Callable[[BatchEvent], None] = lambda _: None,
) -> list[BatchResult]:
    """Restore every video of a folder, as `fmanet batch` does it: finished ones are skipped, a failure stops no other.

    Args:
        folder: where the videos lie.
        target: folder of the outputs, in which the tree is mirrored; it is made where it is missing.
        model: a network (device and precision are chosen), or a `Restorer` with choices of its own.
        settings: how each is read and written; the defaults keep everything of the source.
        recursive: also the folders inside.
        include: patterns of file names, of which one must match.
        exclude: patterns of which none may match.
        suffix: added to the name of each output, before its `.mp4`.
        model_name: what the reports call the weights.
        on_event: called after every frame and at the end of every video.

    Returns:
        How each video ended, in their order: its `state` is `done`, `skipped` or `failed`.

    Raises:
        OptionError: there is no such folder, no video in it, or two videos would get the same target.
    """
    if not os.path.isdir(folder):
        raise OptionError(f"{folder} is not a folder; restore_video takes single files")
    target = Path(target)
    search = Search(recursive=recursive, include=include, exclude=exclude, suffix=suffix)
    items, _ = plan_inputs([folder], target, search)
    restorer = model if isinstance(model, Restorer) else Restorer(model)
    results = []
    for event in run_batch(
        items, restorer, settings=settings or RestoreSettings(), model_name=model_name, records=Records(target)
    ):
        on_event(event)
        if event.result is not None:
            results.append(event.result)
    return results


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
            settings=self._settings_of(item),
            model_name=self.model_name,
            pool=self.pool,
        )
        try:
            if reason := item.skip_reason or self._reason_to_skip(item):
                yield BatchEvent(item, result=BatchResult(replace(item, skip_reason=reason)))
                return
            if self.lost is not None:
                raise DeviceLostError(f"not begun: {self.lost}")
            with made_folders(item.target.parent, failure=VideoWriteError):
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
            yield BatchEvent(item, result=BatchResult(item, error=as_own(error), verification=job.verification))
        else:
            yield BatchEvent(item, result=BatchResult(item, report=job.report))

    def _reason_to_skip(self, item: BatchItem) -> str:
        if self.records is None or not os.path.lexists(item.target):
            return ""
        remove_leftover(item.target)
        state = self.records.state(item.source, item.target, self._choices(item))
        is_new = item.target.stat().st_mtime_ns >= self._began_ns
        # Another run writes its record a moment after its output has its name.
        if is_new and (state.startswith("finished") or state == UNRECORDED):
            return "finished by another run meanwhile"
        return "" if self._settings_of(item).overwrite else state

    def _remember(self, item: BatchItem, job: RestoreJob) -> None:
        if self.records is None:
            return
        with contextlib.suppress(OSError):
            self.records.write(item.source, item.target, self._choices(item), verified=job.verification is not None)

    def _choices(self, item: BatchItem) -> dict[str, object]:
        self._weights = self._weights or weights_digest(self.restorer.model)
        return {"options": deciding_options(self._settings_of(item)), "weights": self._weights}

    def _settings_of(self, item: BatchItem) -> RestoreSettings:
        return item.settings or self.settings
