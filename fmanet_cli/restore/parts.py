"""One film restored by several commands that know nothing of each other, each on any machine: its parts."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fmanet_cli.errors import FmanetError, OptionError, OutputBusyError, ResumeError, VideoWriteError
from fmanet_cli.restore.journal import Journal, differences, head_of
from fmanet_cli.video.write.partial_files import write_durably
from fmanet_cli.video.write.segments import SegmentFolder, part_name

LOCK_SECONDS = 7.0
"""How long a part waits for others that begin at the same time, in each of a few attempts."""

_VERSION = 1


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """One of several parts of a film: every span of its grid whose number fits."""

    number: int
    """From 1."""
    count: int
    """How many there are."""

    @classmethod
    def parse(cls, text: str) -> Part:
        """`3/8` as a part. Raises OptionError."""
        match = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text)
        number, count = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= number <= count:
            raise OptionError(f"a part is K/N, such as 3/8, with K from 1 to N; got {text!r:.40}")
        return cls(number, count)

    def has(self, span: int) -> bool:
        """Whether the span of a number, from 0, is in it; neighbours are in different parts, so that all last alike."""
        return span % self.count == self.number - 1

    def spans(self, all_spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Those of a film's spans that are in it."""
        return [span for number, span in enumerate(all_spans) if self.has(number)]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


@dataclass(frozen=True, slots=True)
class PartNote:
    """What a finished part has written down."""

    part: Part
    """Which it was."""
    run: Mapping[str, Any]
    """The identity of its run."""
    facts: Mapping[str, Any]
    """What else it knew at its end, as plain values."""


class PartJournal(Journal):
    """The journal of a film that others may be at work on too; a context manager.

    Segments stay when the block ends, however it does: `fmanet join` or a run of the whole film takes them.
    """

    def __init__(self, target: Path, identity: Mapping[str, Any], part: Part, *, segment_frames: int, overwrite: bool):
        """identity: as for `Journal`. part: which."""
        super().__init__(target, identity, segment_frames=segment_frames, overwrite=overwrite)
        self._part = part
        self._own_lock = FileLock(self._folder / part_name(part.number, part.count, "lock"), thread_local=False)

    def __enter__(self) -> PartJournal:  # type: ignore[override]
        """As `Journal`; raise OutputBusyError when this part or a run of the whole film is at work."""
        with self._alone():
            try:
                self._own_lock.acquire(timeout=0)
            except Timeout:
                raise OutputBusyError(f"part {self._part} of {self._target} is at work already") from None
            try:
                self._begin()
            except BaseException:
                self._own_lock.release()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._own_lock.release()
        with contextlib.suppress(FmanetError, OSError):
            self._begin_alone()
            self._leave(keep=self._has_work())

    def note_done(self, facts: Mapping[str, Any]) -> None:
        """Remember that every span of this part is closed; facts: plain values for whoever joins the parts."""
        number, count = self._part.number, self._part.count
        note = {"version": _VERSION, "part": [number, count], "run": self._identity, "facts": facts}
        path = self._folder / part_name(number, count, "json")
        try:
            write_durably(path, json.dumps(note, indent=1, default=str))
        except OSError as error:
            raise VideoWriteError(f"{path} cannot be written: {error.strerror or error}") from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """No other part begins meanwhile."""
        self._check_target()
        self._acquire(seconds=LOCK_SECONDS, among_parts=True)
        try:
            yield
        finally:
            self._lock.release()

    def _begin(self) -> None:
        found = head_of(self._folder)
        if (self._has_work() or self._parts_at_work(but=self._own_lock)) and found != self._identity:
            raise ResumeError(
                f"part {self._part} of {self._target.name} is of another run than what is in {self._folder}: "
                f"{differences(found or {}, self._identity)}; repeat that command, or remove that folder to begin anew"
            )
        counts = {note.part.count for note in read_notes(self._folder)} - {self._part.count}
        if counts:
            raise ResumeError(
                f"{self._folder} holds parts of {counts.pop()}, got {self._part}; give the same number, or join them"
            )
        self.segments = SegmentFolder(self._folder, frames=self._segment_frames, is_shared=True)
        self._take_tiling()
        self._write_head()

    def _has_work(self) -> bool:
        return self._has_frames() or any(self._folder.glob("part-*.json"))

    def _write_head(self) -> None:
        if not self._lock.is_locked:
            # Tiles are noted with the part.
            return
        super()._write_head()


def read_notes(folder: Path) -> list[PartNote]:
    """What the finished parts of a film have written down, in their order; what cannot be read is left out."""
    notes = []
    for path in sorted(folder.glob("part-*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            note = json.loads(path.read_text(encoding="utf-8"))
            number, count = note["part"]
            if note["version"] == _VERSION and isinstance(note["run"], dict) and isinstance(note["facts"], dict):
                notes.append(PartNote(Part(int(number), int(count)), note["run"], note["facts"]))
    return sorted(notes, key=lambda note: note.part)
