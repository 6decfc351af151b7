"""Decoding, the network and encoding at the same time: iterators and consumers behind bounded queues."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_END = object()


class Prefetched(Generic[Item]):
    """Takes items in a thread of its own, at most `depth` ahead; a context manager and an iterator.

    An exception of `items` is raised here, after the items before it. Leaving the block stops the thread.
    """

    def __init__(self, items: Iterable[Item], depth: int) -> None:
        self._items = items
        self._ready: queue.Queue[object] = queue.Queue(maxsize=depth)
        self._failure: BaseException | None = None
        self._stops = self._has_ended = False
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self.waiting_seconds = 0.0
        """How long it was waited for items."""

    def __enter__(self) -> Prefetched[Item]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stops = True
        # The thread may be waiting for a free place.
        while not self._has_ended:
            self._has_ended = self._ready.get() is _END
        self._thread.join()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        if self._has_ended:
            raise StopIteration
        began = time.perf_counter()
        item = self._ready.get()
        self.waiting_seconds += time.perf_counter() - began
        if item is not _END:
            return item  # type: ignore[return-value]
        self._has_ended = True
        if self._failure is not None:
            raise self._failure
        raise StopIteration

    def _run(self) -> None:
        try:
            for item in self._items:
                self._ready.put(item)
                if self._stops:
                    break
        except BaseException as error:
            self._failure = error
        self._ready.put(_END)


class BackgroundConsumer(Generic[Item]):
    """Hands items to a function in a thread of its own, at most `depth` waiting; a context manager.

    An exception of the function is raised by the next `put` or at the end of the `with` block. If the block fails,
    waiting items are dropped; if it is interrupted or closed, they are still handed on.
    """

    def __init__(self, consume: Callable[[Item], None], *, depth: int) -> None:
        self._consume = consume
        self._waiting: queue.Queue[object] = queue.Queue(maxsize=depth)
        self._failure: BaseException | None = None
        self._dropping = False
        self._thread = threading.Thread(target=self._run, name="consumer", daemon=True)
        self.working_seconds = 0.0
        """How long the function took."""
        self.waiting_seconds = 0.0
        """How long it was waited for a free place."""

    def __enter__(self) -> BackgroundConsumer[Item]:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._dropping = kind is not None and not issubclass(kind, KeyboardInterrupt | GeneratorExit)
        self._waiting.put(_END)
        self._thread.join()
        if self._failure is not None and kind is None:
            raise self._failure

    def put(self, item: Item) -> None:
        """Wait for a free place."""
        if self._failure is not None:
            raise self._failure
        began = time.perf_counter()
        self._waiting.put(item)
        self.waiting_seconds += time.perf_counter() - began

    def _run(self) -> None:
        while (item := self._waiting.get()) is not _END:
            if self._failure is None and not self._dropping:
                began = time.perf_counter()
                try:
                    self._consume(item)  # type: ignore[arg-type]
                except BaseException as error:
                    self._failure = error
                self.working_seconds += time.perf_counter() - began
