"""Many videos restored one after the other; one that fails never stops the rest."""

from __future__ import annotations

import fnmatch
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import FmanetError, OptionError
from fmanet_cli.restore.job import RestoreJob, RestoreProgress, RestoreReport, RestoreSettings
from fmanet_cli.shots.detector import is_cut_list
from fmanet_cli.verify.result import VerificationResult
from fmanet_cli.video.write.containers import CONTAINERS

VIDEO_SUFFIXES = frozenset({
    ".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut",
    ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})  # fmt: skip
"""What a folder is searched for."""


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


def plan_folder(
    folder: Path, target: Path, *, recursive: bool = True, pattern: str = "*", overwrite: bool = False
) -> list[BatchItem]:
    """The videos of a folder and their targets; the tree is mirrored, finished ones are marked as skipped.

    Raises:
        OptionError: `folder` is no folder, holds no video, or two videos would get the same target.
    """
    if not folder.is_dir():
        raise OptionError(f"{folder} is not a folder; give 'fmanet restore' for single files")
    found = sorted(path for path in folder.rglob("*") if _is_video(path, folder, recursive=recursive, pattern=pattern))
    inside = target.resolve()
    found = [path for path in found if inside not in path.resolve().parents or inside == folder.resolve()]
    if not found:
        raise OptionError(
            f"no video matching {pattern!r} in {folder}; known suffixes: {' '.join(sorted(VIDEO_SUFFIXES))}"
        )
    return _plan([(path, writable_path(target / path.relative_to(folder))) for path in found], overwrite=overwrite)


def plan_files(sources: Sequence[Path], folder: Path, *, suffix: str = "", overwrite: bool = False) -> list[BatchItem]:
    """Several files into one folder, each under its own name plus `suffix`.

    Raises:
        OptionError: two files would get the same target.
    """
    items = _plan(
        [(path, writable_path(folder / f"{path.stem}{suffix}{path.suffix}")) for path in sources], overwrite=True
    )
    return [_refuse_existing(item) for item in items] if not overwrite else items


def run_batch(
    items: Sequence[BatchItem], restorer: Restorer, *, settings: RestoreSettings, model_name: str = ""
) -> Generator[BatchEvent, None, None]:
    """Restores every item that is not skipped; yields the progress of each and its end.

    Raises:
        OptionError: several videos, but one list of cuts.
    """
    if len(items) > 1 and is_cut_list(settings.scene_detect):
        raise OptionError(f"the cuts in {settings.scene_detect} belong to one video, got {len(items)}")
    for item in items:
        if item.skip_reason:
            yield BatchEvent(item, result=BatchResult(item))
            continue
        job = RestoreJob(item.source, item.target, restorer, settings=settings, model_name=model_name)
        try:
            item.target.parent.mkdir(parents=True, exist_ok=True)
            for progress in job.run():
                yield BatchEvent(item, progress=progress)
        except FmanetError as error:
            yield BatchEvent(item, result=BatchResult(item, error=error, verification=job.verification))
        else:
            yield BatchEvent(item, result=BatchResult(item, report=job.report))


def _is_video(path: Path, folder: Path, *, recursive: bool, pattern: str) -> bool:
    return (
        path.is_file()
        and path.suffix.lower() in VIDEO_SUFFIXES
        and not path.name.startswith(".")
        and fnmatch.fnmatch(path.name, pattern)
        and (recursive or path.parent == folder)
    )


def writable_path(path: Path) -> Path:
    """`path`, as .mkv where its own suffix means a container that is only read."""
    written = {suffix for container in CONTAINERS for suffix in container.suffixes}
    return path if path.suffix.lower() in written else path.with_suffix(".mkv")


def _plan(pairs: list[tuple[Path, Path]], *, overwrite: bool) -> list[BatchItem]:
    seen: dict[Path, Path] = {}
    for source, target in pairs:
        if target in seen:
            raise OptionError(f"{seen[target]} and {source} would both become {target}; restore them one by one")
        seen[target] = source
    return [
        BatchItem(source, target, "finished already" if target.exists() and not overwrite else "")
        for source, target in pairs
    ]


def _refuse_existing(item: BatchItem) -> BatchItem:
    if item.target.exists():
        raise OptionError(f"{item.target} exists; use --overwrite to replace it")
    return item
