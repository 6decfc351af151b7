"""Workers that restore spans of a film: what each of them is, and the one in a process of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Protocol

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import FmanetError
from fmanet_cli.restore.span_worker import SpanResult, SpanTask, SpanWorker, WorkerSetup
from fmanet_cli.restore.worker_facts import WorkerFacts

_POLL_SECONDS = 0.2
_END_SECONDS = 5.0


class WorkerDiedError(Exception):
    """A worker is gone (killed, out of memory, its machine lost), or has left something else than it said."""


class NoRoomError(Exception):
    """A worker cannot begin now: others are in its place, or its machine is gone."""


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


class LocalWorker:
    """A worker in this process, with a network that is there already (a `Worker`)."""

    def __init__(self, restorer: Restorer) -> None:
        self._worker = SpanWorker(restorer)

    def run(self, task: SpanTask, frame_done: Callable[[], None], stops: threading.Event) -> SpanResult:
        """As `Worker.run`."""
        return self._worker.run(task, frame_done=frame_done, stops=stops.is_set)

    def close(self) -> None:
        """As `Worker.close`."""
        self._worker.close()


class ProcessWorker:
    """A worker in a process of its own, so that its death costs nobody else anything (a `Worker`)."""

    def __init__(self, setup: WorkerSetup) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, setup), name="fmanet worker", daemon=True)
        self._process.start()
        theirs.close()
        self.facts = WorkerFacts.here(setup.model)
        """What the worker must have too."""
        self._has_joined = False

    def run(self, task: SpanTask, frame_done: Callable[[], None], stops: threading.Event) -> SpanResult:
        """As `Worker.run`."""
        told = False
        try:
            self._join()
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

    def _join(self) -> None:
        """Once: it must be what this process is. Raises WorkerMismatchError."""
        if self._has_joined:
            return
        answer = self._connection.recv()
        if isinstance(answer, BaseException):
            raise answer
        self.facts.check(answer, who=f"the worker process {self._process.pid}")
        self._has_joined = True

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
            worker = SpanWorker(setup.restorer())
        except FmanetError as error:
            connection.send(error)
            return
        connection.send(WorkerFacts.here(setup.model))
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
