"""Files that appear under their final name only when they are whole."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import shutil
from pathlib import Path

from fmanet_cli.errors import OptionError, OutputExistsError, VideoWriteError
from fmanet_cli.video.read.sequence import existing_files

PART_SUFFIX = ".part"
"""Of files that are being written."""

_LONGEST_STEM = 50
_ASIDE = ".rejected"
_PLAYABLE = ".partial"
_WHOLE_SUFFIX = ".whole"
"""Of a folder that holds every image of a sequence: whoever comes next may give them their names."""

_ORDER = "order.json"


class PartialFile:
    """A file under a temporary name beside its target, with the same suffix."""

    def __init__(self, target: Path, *, overwrite: bool, folder: Path | None = None):
        """folder: for the temporary file, on the target's disk; by default the target's own.

        Raises OutputExistsError or VideoWriteError when the target cannot be made; nothing is written yet.
        """
        check_target(target, overwrite=overwrite)
        self.target = target
        beside = target.with_name(f".{target.stem[:_LONGEST_STEM]}.{_token()}.part{target.suffix}")
        self.path = beside if folder is None else folder / f".whole{target.suffix}"
        self._overwrite = overwrite

    def commit(self) -> None:
        """Flush the file to disk and give it its final name."""
        try:
            with self.path.open("r+b") as file:
                os.fsync(file.fileno())
            if os.path.lexists(self.target) and not self._overwrite:
                raise OutputExistsError(f"{self.target} appeared during the run; the new file is {self.set_aside()}")
            self.path.replace(self.target)
            sync_folder(self.target.parent)
        except OSError as error:
            if isinstance(error, OutputExistsError):
                raise
            self.discard()
            raise VideoWriteError(f"{self.target} cannot be written: {error.strerror or error}") from error

    def set_aside(self) -> Path:
        """Give the file a name that says it is not the target; an older one of that name is replaced."""
        aside = self.target.with_name(f"{self.target.stem}{_ASIDE}{self.target.suffix}")
        self.path.replace(aside)
        return aside

    def set_playable(self) -> Path:
        """Give the file, which holds the beginning of the output, a name that says so; an older one is replaced."""
        self.path.replace(playable_path(self.target))
        return playable_path(self.target)

    def discard(self) -> None:
        """Remove the temporary file; harmless when there is none."""
        self.path.unlink(missing_ok=True)


class PartialSequence:
    """Numbered files in a temporary folder beside their targets."""

    def __init__(self, pattern: Path, *, overwrite: bool):
        """Raise OutputExistsError when files of the sequence exist, and VideoWriteError.

        A run that was killed while it named its images has left the others whole: they get their names first.
        """
        _finish_commits(pattern)
        self._replaced = frozenset(file.name for file in existing_files(pattern).values())
        if self._replaced and not overwrite:
            raise OutputExistsError(f"{pattern.parent / min(self._replaced)} exists; overwrite to replace the sequence")
        _check_folder(pattern.parent.parent if not os.path.exists(pattern.parent) else pattern.parent)
        self.pattern = pattern
        self.folder = pattern.parent / f".frames.{_token()}{PART_SUFFIX}"
        self._overwrite = overwrite
        self._made_parent = False

    def begin(self) -> None:
        """Make the temporary folder, which no other run can have."""
        self._made_parent = not os.path.exists(self.pattern.parent)
        self.pattern.parent.mkdir(exist_ok=True)
        self.folder.mkdir()

    def commit(self) -> None:
        """Give every file its final name and remove the rest of the sequence that was to be replaced.

        Raises OutputExistsError when a number of the sequence appeared during the run, and VideoWriteError.
        """
        try:
            names = {file.name for file in self.folder.iterdir()}
            there = {file.name for file in existing_files(self.pattern).values()}
            if not self._overwrite and (appeared := there & names):
                kept = self.set_aside()
                raise OutputExistsError(
                    f"{self.pattern.parent / min(appeared)} appeared during the run; the new images are in {kept}"
                )
            order = {"pattern": self.pattern.name, "replaced": sorted(self._replaced - names)}
            (self.folder / _ORDER).write_text(json.dumps(order), encoding="utf-8")
            self.folder = self.folder.replace(self.folder.with_suffix(_WHOLE_SUFFIX))
            _give_names(self.folder)
        except OSError as error:
            if isinstance(error, OutputExistsError):
                raise
            self.discard()
            raise VideoWriteError(f"{self.pattern} cannot be written: {error.strerror or error}") from error

    def set_aside(self) -> Path:
        """Give the folder a name that says it is not the target, one that is free."""
        name = self.pattern.stem.partition("%")[0].rstrip("._- ") or "frames"
        names = (f"{name}{_ASIDE}{number}" for number in itertools.chain([""], itertools.count(2)))
        aside = next(path for path in map(self.pattern.with_name, names) if not os.path.lexists(path))
        self.folder.replace(aside)
        return aside

    def discard(self) -> None:
        """Remove the temporary folder; harmless when there is none."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._made_parent:
            with contextlib.suppress(OSError):
                self.pattern.parent.rmdir()


def _finish_commits(pattern: Path) -> None:
    """Name the images of this sequence that a killed run has left whole. Raises VideoWriteError."""
    for folder in pattern.parent.glob(f".frames.*{_WHOLE_SUFFIX}"):
        try:
            if json.loads((folder / _ORDER).read_text(encoding="utf-8"))["pattern"] == pattern.name:
                _give_names(folder)
        except (ValueError, KeyError, FileNotFoundError):
            continue  # Not ours.
        except OSError as error:
            raise VideoWriteError(f"{pattern} cannot be written: {error.strerror or error}") from error


def _give_names(folder: Path) -> None:
    """Move a whole sequence out of its folder. What a kill has interrupted can be done again from the beginning."""
    order = folder / _ORDER
    for old in json.loads(order.read_text(encoding="utf-8"))["replaced"]:
        (folder.parent / old).unlink(missing_ok=True)
    for image in sorted(folder.iterdir()):
        if image != order:
            image.replace(folder.parent / image.name)
    shutil.rmtree(folder)


def playable_path(target: Path) -> Path:
    """Where the beginning of an output lies that an interrupted run has left to be looked at."""
    return target.with_name(f"{target.stem}{_PLAYABLE}{target.suffix}")


def _token() -> str:
    """What no other run has in its temporary names. The number of a process is the same in every container."""
    return secrets.token_hex(4)


def check_target(target: Path, *, overwrite: bool) -> None:
    """Raise OptionError, OutputExistsError or VideoWriteError when a file of this name cannot be made."""
    if os.path.isdir(target):
        raise OptionError(f"{target} is a folder; give a file name")
    try:
        target.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise VideoWriteError(f"{target} cannot be written: {error.strerror or error}") from error
    if os.path.exists(target) and not overwrite:
        raise OutputExistsError(f"{target} exists; choose another name or overwrite it", remedy="overwrite")
    _check_folder(target.parent)


def write_durably(path: Path, text: str) -> None:
    """Write a text file that is there whole, or not at all, even after a power failure. Raises OSError."""
    part = path.with_name(f"{path.name}{PART_SUFFIX}")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
    replace_durably(part, path)


def replace_durably(part: Path, path: Path) -> None:
    """Give a finished file its name once its content is on the disk. Raises OSError."""
    with part.open("r+b") as file:
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can do that."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _check_folder(folder: Path) -> None:
    try:
        folder.stat()
    except FileNotFoundError as error:
        raise VideoWriteError(f"folder {folder} does not exist; make it first") from error
    except OSError as error:
        raise VideoWriteError(f"folder {folder} cannot be used: {error.strerror or error}") from error
    if not os.path.isdir(folder):
        raise VideoWriteError(f"{folder} is a file, not a folder")
    if not os.access(folder, os.W_OK):
        raise VideoWriteError(f"folder {folder} cannot be written to; choose another one")
