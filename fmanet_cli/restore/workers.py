"""Workers that restore spans of a film at the same time, and what happens when one of them dies."""

from __future__ import annotations

import contextlib
import heapq
import multiprocessing
import queue
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Protocol

from fmanet_cli.errors import DeviceError, FmanetError, UnexpectedError
from fmanet_cli.restore.span_worker import SpanResult, SpanTask, SpanWorker, WorkerSetup

TRIES = 3
"""How often a span is begun before its film fails."""

_POLL_SECONDS = 0.2
_END_SECONDS = 5.0


class WorkerDiedError(Exception):
    """A worker is gone: killed, out of memory, or its machine is lost."""


class Worker(Protocol):
    """Somebody who restores spans; each is used by one thread."""

    def run(self, task: SpanTask, frame_done: Callable[[], None], stops: threading.Event) -> SpanResult:
        """Restore a span; once `stops` is set its segment is closed with the frames that it has.

        Raises WorkerDiedError when the worker is gone, and FmanetError when the span cannot be restored.
        """
        ...

    def close(self) -> None:
        """End it; harmless when it is gone."""
        ...


class ProcessWorker:
    """A worker in a process of its own, so that its death costs nobody else anything (a `Worker`)."""

    def __init__(self, setup: WorkerSetup) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, setup), name="fmanet worker", daemon=True)
        self._process.start()
        theirs.close()

    @property
    def process_id(self) -> int | None:
        """Number of its process."""
        return self._process.pid

    def run(self, task: SpanTask, frame_done: Callable[[], None], stops: threading.Event) -> SpanResult:
        """As `Worker.run`."""
        told = False
        try:
            self._connection.send(task)
            while True:
                if stops.is_set() and not told:
                    self._connection.send(None)
                    told = True
                if not self._connection.poll(_POLL_SECONDS):
                    continue
                answer = self._connection.recv()
                if isinstance(answer, SpanResult):
                    return answer
                if isinstance(answer, BaseException):
                    raise answer
                frame_done()
        except (EOFError, OSError) as error:
            raise WorkerDiedError(f"the worker process {self._process.pid} ended unexpectedly") from error

    def close(self) -> None:
        """As `Worker.close`."""
        self._connection.close()
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(connection: Connection, setup: WorkerSetup) -> None:
    """What a worker process does: spans in, results or errors out, until the other end closes."""
    # Ctrl-C reaches the whole group; who began the run decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):
        try:
            worker = SpanWorker(setup)
        except FmanetError as error:
            connection.recv()
            connection.send(error)
            return
        while True:
            # A word to stop that came when its span was done already means nothing for the next one.
            if (task := connection.recv()) is None:
                continue
            try:
                answer: SpanResult | FmanetError = worker.run(
                    task, frame_done=lambda: connection.send(1), stops=connection.poll
                )
            except FmanetError as error:
                answer = error
            connection.send(answer)


class SpanPool:
    """Hands spans to workers, the longest first, and begins a span anew when its worker died; a context manager.

    Workers begin when they are first needed and stay for the next film.
    """

    def __init__(self, starters: Sequence[Callable[[], Worker]]) -> None:
        """starters: each begins one worker, also in the place of one that died."""
        self._starters = starters
        self._workers: list[Worker | None] = [None] * len(starters)

    def __enter__(self) -> SpanPool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            if worker is not None:
                worker.close()

    def map(self, tasks: Iterable[SpanTask]) -> Generator[SpanResult | None, None, None]:
        """Yields a result for each span as it is done, and None for each frame on the way.

        `tasks` is read in this thread, ahead of the workers. Closing the generator closes the running spans with the
        frames that they have, and begins no others.

        Raises:
            FmanetError: a span cannot be restored, or was tried `TRIES` times; running spans are closed first.
        """
        shared = _Shared()
        threads = [
            threading.Thread(target=self._work, args=(place, shared), name="worker", daemon=True)
            for place in range(len(self._starters))
        ]
        for thread in threads:
            thread.start()
        try:
            for task in tasks:
                shared.add(task)
                yield from shared.ready()
                if shared.stops.is_set():
                    break
            shared.end()
            while any(thread.is_alive() for thread in threads):
                yield from shared.ready(wait=True)
        finally:
            shared.stops.set()
            shared.end()
            for thread in threads:
                thread.join()
        yield from shared.ready()
        if shared.failure is not None:
            raise shared.failure

    def _work(self, place: int, shared: _Shared) -> None:
        """One thread: takes spans until none are left."""
        while (taken := shared.take()) is not None:
            task, tries = taken
            try:
                worker = self._workers[place]
                if worker is None:
                    worker = self._workers[place] = self._starters[place]()
                shared.done(worker.run(task, lambda: shared.events.put(None), shared.stops))
            except (WorkerDiedError, DeviceError) as error:
                self._replace(place)
                if tries + 1 < TRIES:
                    shared.again(task, tries + 1)
                else:
                    shared.fail(DeviceError(f"{task.name} failed {TRIES} times: {error}"))
            except FmanetError as error:
                shared.fail(error)
            except BaseException as error:
                shared.fail(UnexpectedError(f"{task.name}: {type(error).__name__}: {error}"))

    def _replace(self, place: int) -> None:
        worker, self._workers[place] = self._workers[place], None
        if worker is not None:
            worker.close()


class _Shared:
    """What the threads of a pool have in common while one film is restored."""

    def __init__(self) -> None:
        self.stops = threading.Event()
        self.events: queue.SimpleQueue[SpanResult | None] = queue.SimpleQueue()
        self.failure: FmanetError | None = None
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, int, int, SpanTask]] = []
        self._running = 0
        self._is_complete = False

    def add(self, task: SpanTask, *, tries: int = 0) -> None:
        with self._changed:
            heapq.heappush(self._waiting, (-task.count, task.first, tries, task))
            self._changed.notify()

    def end(self) -> None:
        """No more spans will be added but those begun anew."""
        with self._changed:
            self._is_complete = True
            self._changed.notify_all()

    def take(self) -> tuple[SpanTask, int] | None:
        """The longest waiting span and how often it was tried; None when nothing is left to do."""

        def is_settled() -> bool:
            return bool(self._waiting) or self.stops.is_set() or (self._is_complete and not self._running)

        with self._changed:
            self._changed.wait_for(is_settled)
            if not self._waiting or self.stops.is_set():
                return None
            _, _, tries, task = heapq.heappop(self._waiting)
            self._running += 1
            return task, tries

    def done(self, result: SpanResult) -> None:
        self.events.put(result)
        self._ended()

    def again(self, task: SpanTask, tries: int) -> None:
        self.add(task, tries=tries)
        self._ended()

    def fail(self, error: FmanetError) -> None:
        self.failure = self.failure or error
        self.stops.set()
        self._ended()

    def ready(self, *, wait: bool = False) -> Iterator[SpanResult | None]:
        with contextlib.suppress(queue.Empty):
            while True:
                yield self.events.get(timeout=_POLL_SECONDS) if wait else self.events.get_nowait()
                wait = False

    def _ended(self) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()
