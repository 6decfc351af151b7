"""Videos that arrive in a folder while it is watched."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fmanet_cli.restore.inputs import BatchItem

LOOK_SECONDS = 5.0
"""Between two looks at a folder: a file that had the same size and time of change at both has stopped growing."""


def arrivals(
    look: Callable[[], Iterable[BatchItem]],
    *,
    interval: float = LOOK_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[BatchItem]:
    """Yield each video once it has stopped growing, without end; one that changes later is given again.

    Args:
        look: what is there now.
        interval: seconds between two looks.
        sleep: waits so many seconds.
    """
    seen: dict[Path, tuple[int, int]] = {}
    given: dict[Path, tuple[int, int]] = {}
    while True:
        before, seen = seen, {}
        ready = []
        for item in look():
            if (state := _state(item.source)) is None:
                continue
            seen[item.source] = state
            if before.get(item.source) == state != given.get(item.source):
                ready.append(item)
        for item in ready:
            # Those before may have taken hours.
            if _state(item.source) == seen[item.source]:
                given[item.source] = seen[item.source]
                yield item
        sleep(interval)


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of change; None where the file is empty or gone."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return (facts.st_size, facts.st_mtime_ns) if facts.st_size else None
