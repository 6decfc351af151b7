"""Files for figures and reports, refused before the work where they would cost another file."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from fmanet_cli.cli.terminal import echo
from fmanet_cli.errors import OptionError, OutputExistsError, VideoWriteError
from fmanet_cli.files import read_text, write_text

_MOST_BYTES = 1 << 26
"""A file that is larger is no report of ours."""

_SYSTEM_FOLDERS = ("/dev", "/proc")

IsOwn = Callable[[str], bool]
"""Whether a text was written by the command that is about to replace it."""


class ReportFile:
    """A path to write a text to when the work is done.

    A regular file is replaced in one step, and only where it is a report of the same kind. What is no regular file (a
    device, a pipe, `-` for standard output) is written into.
    """

    def __init__(self, path: str | Path, *, is_own: IsOwn, used: Mapping[str, Iterable[str | Path | None]]):
        """used: every other file of the run by what it is; a report is never written over one of them.

        Raises OptionError or OutputExistsError for a path that is refused, VideoWriteError for a missing folder.
        """
        self.is_standard_output = str(path) == "-"
        self._path = Path(path)
        if self.is_standard_output:
            if any(str(name) == "-" for name in used.get("output", ())):
                raise OptionError("the report and the video cannot both go to standard output; name a file for one")
            return
        self._refuse_used(used)
        self._is_special = self._looks_special()
        if not self._is_special:
            self._check_regular(is_own)

    def write(self, text: str) -> None:
        """Raise FileWriteError where that fails; an older report is then still there."""
        if self.is_standard_output:
            echo(text, nl=False)
            return
        if not self._is_special:
            write_text(self._path, text)
            return
        try:
            # Without a reader a named pipe would block for good.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NONBLOCK", 0))
            with contextlib.suppress(AttributeError, OSError):
                os.set_blocking(descriptor, True)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise VideoWriteError(f"cannot write the report into {self._path}: {error.strerror or error}") from error

    def _refuse_used(self, used: Mapping[str, Iterable[str | Path | None]]) -> None:
        for role, names in used.items():
            for name in names:
                if name is not None and str(name) != "-" and _is_same(self._path, Path(name)):
                    raise OptionError(f"the report {self._path} is the {role} of this run; choose another name")

    def _looks_special(self) -> bool:
        folder = os.path.realpath(self._path.parent)
        if any(folder == top or folder.startswith(f"{top}/") for top in _SYSTEM_FOLDERS):
            return True
        try:
            mode = self._path.stat().st_mode
        except OSError:
            return False
        return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)

    def _check_regular(self, is_own: IsOwn) -> None:
        path = self._path
        try:
            if path.name in ("", "..") or os.path.isdir(path):
                raise OptionError(f"the report needs the name of a file, got the folder {path}")
            if not os.path.isdir(path.parent):
                raise OptionError(f"the folder for {path} does not exist: make it first")
            size_bytes = path.stat().st_size if os.path.lexists(path) else 0
            text = _text_of(path) if 0 < size_bytes <= _MOST_BYTES else ""
        except OSError as error:
            raise VideoWriteError(f"{path} cannot be written: {error.strerror or error}") from error
        if size_bytes and not is_own(text):
            raise OutputExistsError(f"{path} exists and is no report of this command; choose another name")


def _text_of(path: Path) -> str:
    """Nothing for what is no text. Raises OSError."""
    try:
        return read_text(path)
    except ValueError:
        return ""


def json_with(*keys: str) -> IsOwn:
    """Recognise a JSON object by its keys."""

    def is_own(text: str) -> bool:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return False
        return isinstance(found, dict) and set(keys) <= set(found)

    return is_own


def csv_with(heading: str) -> IsOwn:
    """Recognise a table by the beginning of its first line."""
    return lambda text: text.startswith(heading)


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths are the same file, or will be."""
    try:
        if os.path.samefile(one, other):  # noqa: PTH121
            return True
    except OSError:
        pass
    return os.path.realpath(one) == os.path.realpath(other)
