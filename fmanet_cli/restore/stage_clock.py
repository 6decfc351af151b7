"""Where the time of a run goes: seconds in each stage, which work side by side."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class StageClock:
    """Adds up the wall time of stages by name; each stage belongs to one thread."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        """By name, in the order in which the stages began."""

    def timed(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """The same items; what making each takes is counted."""
        iterator = iter(items)
        while True:
            began = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.seconds[name] += time.perf_counter() - began
            yield item

    def timing(self, name: str, call: Callable[[Item], None]) -> Callable[[Item], None]:
        """The same function; what it takes is counted."""

        def run(item: Item) -> None:
            began = time.perf_counter()
            call(item)
            self.seconds[name] += time.perf_counter() - began

        return run
