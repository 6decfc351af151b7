"""The videos of a folder, and everything in it that is none."""

from __future__ import annotations

import fnmatch
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fmanet_cli.errors import OptionError
from fmanet_cli.files import VIDEO_SUFFIXES

_HIDDEN = (".", "@")
"""How names begin that a system or a server made for itself, such as `.Trash` and `@eaDir`."""

_KINDS_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which videos a batch takes, and what their copies are called."""

    recursive: bool = True
    """Also in the folders inside."""
    include: Sequence[str] = ("*",)
    """Patterns of file names, of which one must match."""
    exclude: Sequence[str] = ()
    """Patterns of which none may match."""
    suffix: str = ""
    """Added to the name of each copy, before its `.mp4`."""

    def __post_init__(self) -> None:
        check_suffix(self.suffix)
        for pattern in (*self.include, *self.exclude):
            if _has_folder(pattern):
                raise OptionError(f"patterns are of file names, and {pattern!r} holds a folder; give it as an input")


@dataclass(slots=True)
class FolderContent:
    """What a search has found."""

    folder: Path
    """Where."""
    videos: list[Path] = field(default_factory=list)
    """In rising order."""
    not_chosen: int = 0
    """Videos that the patterns leave out."""
    hidden: int = 0
    """Files and folders whose names begin with a dot or an at sign."""
    others: Counter[str] = field(default_factory=Counter)
    """Files of other kinds by their suffix, in lower case."""
    links: int = 0
    """Symbolic links to folders, which are not followed, and to nothing."""
    unreadable: list[str] = field(default_factory=list)
    """Folders that cannot be read, each with the reason."""

    def notes(self) -> list[str]:
        """One sentence for each kind of thing that was passed over."""
        notes = [f"{text}: passed over" for text in self.unreadable]
        if self.hidden:
            names = "name was" if self.hidden == 1 else "names were"
            notes.append(f"{self.hidden} hidden {names} passed over (they begin with . or @)")
        if self.links:
            links = "symbolic link was" if self.links == 1 else "symbolic links were"
            notes.append(f"{self.links} {links} passed over (to folders, or to nothing)")
        if self.others:
            common = sorted(self.others.items(), key=lambda kind: (-kind[1], kind[0]))[:_KINDS_SHOWN]
            kinds = [f"{suffix or 'no suffix'} ({count})" for suffix, count in common]
            more = len(self.others) - len(kinds)
            files = "file of another kind was" if self.others.total() == 1 else "files of other kinds were"
            notes.append(
                f"{self.others.total()} {files} passed over: {', '.join(kinds)}" + (f" and {more} more" if more else "")
            )
        return notes


def search_folder(folder: Path, search: Search, *, without: Path | None = None) -> FolderContent:
    """Look for videos in a folder; links to folders are not followed, so that the search always ends.

    Args:
        folder: where.
        search: what of it is taken.
        without: a folder inside that is left out, such as that of the outputs.

    Raises:
        OptionError: `folder` is no folder.
    """
    if not os.path.isdir(folder):
        raise OptionError(f"{folder} is not a folder; give 'fmanet restore' for single files")
    content = FolderContent(folder)
    left_out = None if without is None else os.path.realpath(without)
    for path in _files(folder, content, recursive=search.recursive, left_out=left_out):
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            content.others[path.suffix.lower()] += 1
        elif _matches(path.name, search.include) and not _matches(path.name, search.exclude):
            content.videos.append(path)
        else:
            content.not_chosen += 1
    content.videos.sort()
    return content


def _has_folder(text: str) -> bool:
    return any(separator and separator in text for separator in (os.sep, os.altsep))


def check_suffix(suffix: str) -> None:
    """Refuse what is added to a name and would make it a path.

    Raises:
        OptionError: it holds a separator of folders.
    """
    if _has_folder(suffix):
        raise OptionError(f"the suffix is added to a file name, so it cannot hold a folder: {suffix!r}")


def _files(folder: Path, content: FolderContent, *, recursive: bool, left_out: str | None) -> Iterator[Path]:
    def note(error: OSError) -> None:
        content.unreadable.append(f"{error.filename} cannot be read ({error.strerror or error})")

    for place, folders, files in os.walk(folder, onerror=note):
        for names in (folders, files):
            hidden = [name for name in names if name.startswith(_HIDDEN)]
            content.hidden += len(hidden)
            names[:] = [name for name in names if not name.startswith(_HIDDEN)]
        content.links += sum(_is_idle_link(Path(place, name)) for name in (*folders, *files))
        folders[:] = [name for name in folders if os.path.realpath(Path(place, name)) != left_out] if recursive else []
        yield from (path for name in files if os.path.isfile(path := Path(place, name)))


def _is_idle_link(path: Path) -> bool:
    """Whether it is a link that gives no file: to a folder, to nothing, or around in a circle."""
    return path.is_symlink() and not os.path.isfile(path)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
