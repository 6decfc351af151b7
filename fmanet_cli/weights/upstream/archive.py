"""The authors' two weights files, found at any depth of folders and nested zip archives."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from fmanet_cli.errors import WeightsError
from fmanet_cli.weights.cache import SourceFile, file_sha256
from fmanet_cli.weights.download import looks_like_web_page

UNPACKED_LIMIT_BYTES = 4 << 30
"""How much one search may unpack, all archives together: many times the published weights with optimizer state."""
DEPTH_LIMIT = 8
"""How deep archives may lie in archives."""
ENTRIES_LIMIT = 20_000
"""How many entries one archive may have."""

_UPSTREAM_NAME = re.compile(r"model_([DR])_(.+)\.pt")
_TORCH_SUFFIXES = {".pt", ".pth"}
_PIECE_BYTES = 1 << 20
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True, slots=True)
class UpstreamPair:
    """The authors' two files as they were found, on disk."""

    degradation: Path
    """File of the degradation learning network, by its name; of two given files, the first."""
    restoration: Path
    """File of the restoration network, by its name; of two given files, the second."""
    source_files: tuple[SourceFile, ...]
    """The archives around the two, outermost first, then the two, each with its digest."""


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    place: PurePosixPath
    archives: tuple[SourceFile, ...]


def find_upstream_pair(paths: Sequence[Path], *, scratch: Path) -> UpstreamPair:
    """Find the two files in a zip archive or folder, or take the two that are given.

    Archives are unpacked into the folder `scratch` under names of our own, and only as far as needed: nothing that an
    archive says about paths is followed. Raises `WeightsError` for anything but exactly one pair.
    """
    for path in paths:
        if not os.path.exists(path):
            raise WeightsError(f"there is no file or folder {path}")
    if len(paths) == 2 and all(path.suffix in _TORCH_SUFFIXES for path in paths):
        return _pair(_Found(paths[0], PurePosixPath(), ()), _Found(paths[1], PurePosixPath(), ()))
    if len(paths) != 1 or paths[0].suffix in _TORCH_SUFFIXES:
        given = ", ".join(path.name for path in paths)
        raise WeightsError(f"give one zip archive, one folder or the two files model_D_*.pt and model_R_*.pt: {given}")
    search = _Search(scratch)
    found = list(search.folder(paths[0]) if os.path.isdir(paths[0]) else search.archive(paths[0], PurePosixPath(), ()))
    return _choose_pair(found, origin=paths[0])


def _choose_pair(found: Sequence[_Found], *, origin: Path) -> UpstreamPair:
    halves: dict[tuple[PurePosixPath, str], dict[str, _Found]] = {}
    for item in found:
        match = _UPSTREAM_NAME.fullmatch(item.place.name)
        assert match
        halves.setdefault((item.place.parent, match[2]), {})[match[1]] = item
    pairs = {place: pair for place, pair in halves.items() if len(pair) == 2}
    if not pairs:
        seen = ", ".join(str(item.place) for item in found[:4]) or "neither"
        raise WeightsError(f"{origin} does not hold both model_D_*.pt and model_R_*.pt in one folder (found: {seen})")
    chosen = {place: pair for place, pair in pairs.items() if place[1] == "best"} or pairs
    distinct = {pair.source_files[-2:]: pair for pair in (_pair(half["D"], half["R"]) for half in chosen.values())}
    if len(distinct) > 1:
        folders = ", ".join(f"{folder or '.'} ({tag})" for folder, tag in sorted(chosen)[:4])
        raise WeightsError(f"{origin} holds {len(distinct)} different pairs, in {folders}: give the two files you mean")
    return next(iter(distinct.values()))


def _pair(degradation: _Found, restoration: _Found) -> UpstreamPair:
    files = [
        SourceFile(item.place.name or item.path.name, file_sha256(item.path)) for item in (degradation, restoration)
    ]
    return UpstreamPair(degradation.path, restoration.path, (*degradation.archives, *files))


class _Search:
    """One walk, with what it has unpacked so far."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._count = 0
        self._left_bytes = UNPACKED_LIMIT_BYTES

    def folder(self, folder: Path) -> Iterator[_Found]:
        for path in sorted(folder.rglob("*")):
            place = PurePosixPath(path.relative_to(folder).as_posix())
            if os.path.isfile(path) and _UPSTREAM_NAME.fullmatch(path.name):
                yield _Found(path, place, ())
            elif os.path.isfile(path) and path.suffix.lower() == ".zip":
                yield from self.archive(path, place, ())

    def archive(self, path: Path, place: PurePosixPath, outside: tuple[SourceFile, ...]) -> Iterator[_Found]:
        """Yield the weights files in the zip `path`; `place` says where it lay, `outside` in which archives."""
        name = place.name or path.name
        if len(outside) >= DEPTH_LIMIT:
            raise WeightsError(f"{name} lies more than {DEPTH_LIMIT} archives deep: unpack it by hand")
        archives = (*outside, SourceFile(name, file_sha256(path)))
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
                _refuse_unsafe(entries, name)
                # A cut archive can pass for the last weights file in it, which is a zip archive too.
                if entries and min(entry.header_offset for entry in entries) > 0:
                    raise zipfile.BadZipFile("its directory is missing")
                for entry in entries:
                    inner = PurePosixPath(entry.filename)
                    if _UPSTREAM_NAME.fullmatch(inner.name):
                        yield _Found(self._unpack(archive, entry, name), place / inner, archives)
                    elif inner.suffix.lower() == ".zip":
                        yield from self.archive(self._unpack(archive, entry, name), place / inner, archives)
        except _DAMAGE as error:
            if looks_like_web_page(path):
                raise WeightsError(f"{name} is a web page, not a zip archive: download the file itself") from error
            raise WeightsError(f"{name} is not a whole zip archive ({error}): download it again") from error
        except OSError as error:
            raise WeightsError(f"{name} cannot be unpacked: {error}") from error

    def _unpack(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> Path:
        self._count += 1
        target = self._scratch / f"{self._count}{PurePosixPath(entry.filename).suffix.lower()}"
        with archive.open(entry) as source, target.open("wb") as sink:
            self._copy(source, sink, name)
        return target

    def _copy(self, source: IO[bytes], sink: IO[bytes], name: str) -> None:
        while piece := source.read(_PIECE_BYTES):
            self._left_bytes -= len(piece)
            if self._left_bytes < 0:
                raise WeightsError(
                    f"{name} unpacks to more than {UNPACKED_LIMIT_BYTES >> 20} MiB: not an archive of weights"
                )
            sink.write(piece)


def _refuse_unsafe(entries: Sequence[zipfile.ZipInfo], name: str) -> None:
    if len(entries) > ENTRIES_LIMIT:
        raise WeightsError(f"{name} has {len(entries)} entries, more than {ENTRIES_LIMIT}: not an archive of weights")
    for entry in entries:
        path = entry.filename.replace("\\", "/")
        if path == "/":  # Dropbox begins the zip of a shared folder with an entry for its root.
            continue
        if path.startswith("/") or re.match(r"[A-Za-z]:", path) or ".." in path.split("/"):
            raise WeightsError(f"{name} holds the entry {entry.filename!r}, which points outside: nothing was unpacked")
