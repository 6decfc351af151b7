"""What went wrong while reading, bounded in size however damaged the file is."""

from __future__ import annotations

from fmanet_cli.errors import VideoReadError

_LISTED = 100


class FaultLog:
    """Collects faults, and stops at the first one where that was asked for."""

    def __init__(self, path: str, *, stops: bool):
        self.path = path
        self.stops = stops
        self.count = 0
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def add(self, problem: str, *, fatal: bool = True) -> None:
        """Record a fault. Raises VideoReadError when the first fault shall stop the run and this one is ``fatal``."""
        self.note(problem)
        if self.stops and fatal:
            raise VideoReadError(f"{self.path}: {problem}; with --on-error continue the good frames are kept")

    def note(self, problem: str) -> None:
        """Record what was mended without loss, such as a timestamp that goes back."""
        self.count += 1
        if len(self.problems) < _LISTED:
            self.problems.append(problem)
