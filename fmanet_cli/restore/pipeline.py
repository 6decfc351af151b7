"""Decoding, the network and encoding at the same time: iterators and consumers behind bounded queues."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")

_END = object()
_POLL_SECONDS = 0.1


def prefetched(items: Iterable[Item], depth: int) -> Generator[Item, None, None]:
    """Takes `items` in a thread of its own, at most `depth` ahead.

    An exception of `items` is raised here, after the items before it. Closing the generator stops the thread.
    """
    ready: queue.Queue[object] = queue.Queue(maxsize=depth)
    stopped = threading.Event()
    failure: list[BaseException] = []

    def put(item: object) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def fill() -> None:
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as error:
            failure.append(error)
        put(_END)

    thread = threading.Thread(target=fill, name="prefetch", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            yield item  # type: ignore[misc]
        if failure:
            raise failure[0]
    finally:
        stopped.set()
        thread.join()


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

    def __enter__(self) -> BackgroundConsumer[Item]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dropping = kind is not None and not issubclass(kind, KeyboardInterrupt | GeneratorExit)
        self._waiting.put(_END)
        self._thread.join()
        if self._failure is not None and kind is None:
            raise self._failure

    def put(self, item: Item) -> None:
        """Waits for a free place."""
        if self._failure is not None:
            raise self._failure
        self._waiting.put(item)

    def _run(self) -> None:
        while (item := self._waiting.get()) is not _END:
            if self._failure is None and not self._dropping:
                try:
                    self._consume(item)  # type: ignore[arg-type]
                except BaseException as error:
                    self._failure = error
