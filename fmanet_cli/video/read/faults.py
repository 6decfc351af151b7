"""What went wrong while reading, bounded in size however damaged the file is."""

from __future__ import annotations

from fmanet_cli.errors import VideoReadError
from fmanet_cli.notes import Notes

_LISTED = 100


class FaultLog:
    """Collects faults, and stops at the first one where that was requested."""

    def __init__(self, path: str, *, stops: bool, notes: Notes):
        self.path = path
        self.notes = notes
        self.stops = stops
        self.count = 0
        self.late_marks: dict[str, str] = {}
        self._first: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    @property
    def problems(self) -> list[str]:
        """What was recorded; of one kind only the first, with how many more there are."""
        more = {kind: count - 1 for kind, count in self._counts.items()}
        return [
            text + (f" (and {more[kind]} more of this kind)" if more[kind] else "")
            for kind, text in self._first.items()
        ]

    def add(self, problem: str, *, fatal: bool = True) -> None:
        """Record a fault. Raises VideoReadError when the first fault shall stop the run and this one is `fatal`."""
        self.note(problem)
        if self.stops and fatal:
            raise VideoReadError(
                f"{self.path}: {problem}; the good frames are kept where faults may be passed over",
                remedy="on_error=continue",
            )

    def note(self, problem: str, *, kind: str = "") -> None:
        """Record what was mended without loss, such as a timestamp that goes back; `kind` is listed once."""
        self.count += 1
        kind = kind or problem
        if kind in self._first or len(self._first) < _LISTED:
            self._first.setdefault(kind, problem)
            self._counts[kind] = self._counts.get(kind, 0) + 1
