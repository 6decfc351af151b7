"""What a batch is made of: each video that was asked for, and where its restored copy goes."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fmanet_cli.errors import OptionError
from fmanet_cli.files import VIDEO_SUFFIXES, similar_file
from fmanet_cli.restore.folder import Search, search_folder
from fmanet_cli.video.write.containers import CONTAINERS
from fmanet_cli.video.write.partial_files import playable_path

if TYPE_CHECKING:
    from fmanet_cli.restore.settings import RestoreSettings


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One video of a batch."""

    source: Path
    """The input."""
    target: Path
    """Where its restored copy goes."""
    skip_reason: str = ""
    """Why it is left alone; empty = it is restored."""
    settings: RestoreSettings | None = None
    """How this one is read and written; None = as the others."""


def plan_inputs(
    inputs: Iterable[str | Path], target: Path, search: Search | None = None, *, may_be_empty: bool = False
) -> tuple[list[BatchItem], list[str]]:
    """Every video that is named or lies in a named folder, and its target; trees are mirrored.

    A video that is named twice is taken once, and one that is the target of another one is left out: it was made by an
    earlier run.

    Args:
        inputs: folders, files, or patterns such as `holiday/**/*.mp4`, where no file has that very name.
        target: folder of the outputs; nothing inside it is taken from a folder around it.
        search: what of the folders is taken.
        may_be_empty: whether folders without a video are no error.

    Returns:
        The items, and a sentence for each kind of thing that was passed over.

    Raises:
        OptionError: an input is not there, holds no video, or two videos would get the same target.
    """
    search = search or Search()
    pairs: dict[str, tuple[Path, Path]] = {}
    notes: list[str] = []
    found: list[tuple[Path, Path]] = []
    for name in inputs:
        for path in _matching(name):
            if os.path.isdir(path):
                content = search_folder(path, search, without=target)
                if content.not_chosen and not content.videos and not may_be_empty:
                    raise OptionError(
                        f"none of the {content.not_chosen} videos in {path} is left by the patterns; widen them",
                        remedy="include, exclude",
                    )
                if not content.videos and not may_be_empty:
                    suffixes = " ".join(sorted(VIDEO_SUFFIXES))
                    raise OptionError(f"no video in {path} was found; known suffixes: {suffixes}")
                notes += content.notes()
                found += [(video, video.relative_to(path)) for video in content.videos]
            else:
                found.append((path, Path(path.name)))
    for video, below in found:
        named = below.with_name(f"{below.stem}{search.suffix}{below.suffix}")
        pairs.setdefault(_key(video), (video, writable_path(target / named)))
    copies = [copy for source, (_, copy) in pairs.items() if source != _key(copy)]
    # So is the beginning of one that an interrupted run has left to be looked at.
    made = {_key(path) for copy in copies for path in (copy, playable_path(copy))}
    return planned([pair for source, pair in pairs.items() if source not in made]), notes


def plan_files(sources: Sequence[Path], folder: Path, *, suffix: str = "", overwrite: bool = False) -> list[BatchItem]:
    """Several files into one folder, each under its own name plus `suffix`.

    Raises:
        OptionError: two files would get the same target, or one exists.
    """
    items = planned([(path, writable_path(folder / f"{path.stem}{suffix}{path.suffix}")) for path in sources])
    return [_refuse_existing(item) for item in items] if not overwrite else items


def planned(pairs: Iterable[tuple[Path, Path]]) -> list[BatchItem]:
    """An item for each source and target.

    Raises:
        OptionError: two sources would get the same target, or one would be its own.
    """
    items = [BatchItem(source, target) for source, target in pairs]
    refuse_collisions(items)
    return items


def refuse_collisions(items: Iterable[BatchItem]) -> None:
    """Refuse a batch in which one output would go over another, or over a source.

    Raises:
        OptionError: two sources would get the same target, or one would be its own.
    """
    seen: dict[str, Path] = {}
    for item in items:
        source, target, key = item.source, item.target, _key(item.target)
        if key in seen and _key(seen[key]) == _key(source):
            raise OptionError(f"{source} is named twice and would become {target} twice; name it once")
        if key in seen:
            raise OptionError(f"{seen[key]} and {source} would both become {target}; restore them one by one")
        if key == _key(source):
            raise OptionError(f"{source} would become itself; choose another folder or add to the name with a suffix")
        seen[key] = source


def writable_path(path: Path) -> Path:
    """`path`, as .mkv where its own suffix means a container that is only read."""
    written = {suffix for container in CONTAINERS for suffix in container.suffixes}
    return path if path.suffix.lower() in written else path.with_suffix(".mkv")


def _matching(name: str | Path) -> list[Path]:
    if os.path.lexists(name):
        return [Path(name)]
    if glob.has_magic(str(name)):
        if found := sorted(glob.glob(str(name), recursive=True)):  # noqa: PTH207 - patterns may be absolute
            return [Path(path) for path in found if os.path.isdir(path) or _is_video(path)]
        raise OptionError(f"nothing matches {name}")
    raise OptionError(f"{name} does not exist.{similar_file(name)}")


def _is_video(path: str) -> bool:
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def _key(path: Path) -> str:
    """The same for two names of one path."""
    return os.path.normcase(os.path.abspath(path))  # noqa: PTH100 - links keep their own names


def _refuse_existing(item: BatchItem) -> BatchItem:
    if os.path.lexists(item.target):
        raise OptionError(f"{item.target} exists; choose another name or overwrite it", remedy="overwrite")
    return item
