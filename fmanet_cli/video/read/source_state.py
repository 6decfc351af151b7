"""Whether a source is still the file that was opened: sound is copied and everything verified at the end of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fmanet_cli.errors import VideoReadError


@dataclass(frozen=True, slots=True)
class SourceState:
    """What the file system says of some files at one moment."""

    files: tuple[tuple[str, int, int, int, int], ...] = ()
    """Path, size in bytes, time of the last change in nanoseconds, inode and device of each; empty for pipes."""

    @classmethod
    def of(cls, paths: Iterable[str | Path]) -> SourceState:
        """The state now. Raises VideoReadError when a file cannot be asked."""
        found = []
        for path in paths:
            try:
                state = Path(path).stat()
            except OSError as error:
                raise VideoReadError(f"{path} cannot be read: {error.strerror}") from error
            found.append((str(path), state.st_size, state.st_mtime_ns, state.st_ino, state.st_dev))
        return cls(tuple(found))

    @classmethod
    def before_opening(cls, path: str | Path) -> SourceState:
        """The state of a file that is opened next; empty for devices, and where opening will say what is wrong."""
        with contextlib.suppress(OSError, ValueError):
            if Path(path).is_file():
                return cls.of([path])
        return cls()

    def check_unchanged(self) -> None:
        """Raise VideoReadError for a file that was replaced, written to or removed since."""
        for file in self.files:
            try:
                now = SourceState.of([file[0]]).files[0]
            except VideoReadError as error:
                raise VideoReadError(f"{file[0]} was removed during the run") from error
            if now != file:
                raise VideoReadError(f"{file[0]} was changed during the run: {_difference(file, now)}")


def _difference(before: tuple[str, int, int, int, int], now: tuple[str, int, int, int, int]) -> str:
    if before[1] != now[1]:
        return f"it had {before[1]} bytes and has {now[1]}"
    return "another file is in its place" if before[3:] != now[3:] else "it was written to"
