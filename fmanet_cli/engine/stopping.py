"""A word to stop that long work asks for between its steps."""

from __future__ import annotations

import threading


class StoppedError(BaseException):
    """Ends work that nobody waits for any more; no handler of `Exception` may take it for a failure."""


_thread = threading.local()


def stop_on(stops: threading.Event) -> None:
    """From now on `check` looks at `stops` in this thread."""
    _thread.stops = stops


def check() -> None:
    """Called between steps of work that may take long.

    Raises:
        StoppedError: this thread was told to stop.
    """
    stops: threading.Event | None = getattr(_thread, "stops", None)
    if stops is not None and stops.is_set():
        raise StoppedError
