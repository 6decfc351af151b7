"""Hands the spans of a film to workers, and begins a span anew when its worker died or left something else."""

from __future__ import annotations

import contextlib
import heapq
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

from fmanet_cli.errors import DeviceError, FmanetError, UnexpectedError
from fmanet_cli.restore.span_worker import SpanResult, SpanTask
from fmanet_cli.restore.workers import NoRoomError, Worker, WorkerDiedError

TRIES = 3
"""How often a span is begun before its film fails."""

ROOM_SECONDS = 600.0
"""How long a film waits where no worker at all can begin."""

_POLL_SECONDS = 0.2
_SECONDS_BETWEEN_LOOKS = 2.0


class SpanPool:
    """Hands spans to workers, the longest first, and begins a span anew when its worker died; a context manager.

    Workers begin when they are first needed and stay for the next film.
    """

    def __init__(
        self,
        starters: Sequence[Callable[[], Worker]],
        *,
        engine: Mapping[str, str] | None = None,
        end: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin no worker yet.

        Args:
            starters: each begins one worker, also in the place of one that died.
            engine: device and precision of the workers, where they are other than those of this process.
            end: called when all workers have ended.
        """
        self.engine = dict(engine or {})
        self._starters, self._end = starters, end
        self._workers: list[Worker | None] = [None] * len(starters)

    def __enter__(self) -> SpanPool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            if worker is not None:
                worker.close()
        self._end()

    def map(
        self, tasks: Iterable[SpanTask], *, check: Callable[[SpanResult], str] = lambda _: ""
    ) -> Generator[SpanResult | int, None, None]:
        """Yield a result for each span as it is done, and on the way how many more frames are restored.

        That number is negative where a span is begun anew. `tasks` is read in this thread, ahead of the workers.
        Closing the generator closes the running spans with the frames that they have, and begins no others.

        Args:
            tasks: the spans.
            check: holds a result against what its worker has left, in that one's thread; where it says what is wrong,
                the span is begun anew.

        Raises:
            FmanetError: a span cannot be restored, or was tried `TRIES` times; running spans are closed first.
        """
        shared = _Shared()
        threads = [
            threading.Thread(target=self._work, args=(place, shared, check), name="worker", daemon=True)
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

    def _work(self, place: int, shared: _Shared, check: Callable[[SpanResult], str]) -> None:
        """One thread: takes spans until none are left."""
        while (taken := shared.take()) is not None:
            task, tries = taken
            frames = _Counted(shared.events)
            try:
                worker = self._workers[place]
                if worker is None:
                    worker = self._workers[place] = self._starters[place]()
                result = worker.run(task, frames.one_more, shared.stops)
                if result.frames != task.count and not shared.stops.is_set():
                    raise WorkerDiedError(f"{result.frames} of {task.count} frames came back")
                if problem := check(result):
                    raise WorkerDiedError(problem)
                shared.done(result)
            except NoRoomError as error:
                shared.without_room(task, tries, error, others_work=any(self._workers))
            except (WorkerDiedError, DeviceError) as error:
                self._replace(place)
                frames.forget()
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
        self.events: queue.SimpleQueue[SpanResult | int] = queue.SimpleQueue()
        self.failure: FmanetError | None = None
        self._roomless_since: float | None = None
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
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_over())
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

    def without_room(self, task: SpanTask, tries: int, error: NoRoomError, *, others_work: bool) -> None:
        """Leave a span to others and wait for room; when nobody has had any for long, the film fails."""
        now = time.monotonic()
        self._roomless_since = None if others_work else (self._roomless_since or now)
        if self._roomless_since is not None and now - self._roomless_since > ROOM_SECONDS:
            self.fail(DeviceError(f"no worker could begin for {now - self._roomless_since:.0f} s: {error}"))
            return
        self.again(task, tries)
        with self._changed:
            self._changed.wait_for(self._is_over, timeout=_SECONDS_BETWEEN_LOOKS)

    def fail(self, error: FmanetError) -> None:
        self.failure = self.failure or error
        self.stops.set()
        self._ended()

    def ready(self, *, wait: bool = False) -> Iterator[SpanResult | int]:
        with contextlib.suppress(queue.Empty):
            while True:
                yield self.events.get(timeout=_POLL_SECONDS) if wait else self.events.get_nowait()
                wait = False

    def _is_over(self) -> bool:
        return self.stops.is_set() or (self._is_complete and not self._running and not self._waiting)

    def _ended(self) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()


class _Counted:
    """The frames of one try at a span."""

    def __init__(self, events: queue.SimpleQueue[SpanResult | int]) -> None:
        self._events, self._count = events, 0

    def one_more(self) -> None:
        self._count += 1
        self._events.put(1)

    def forget(self) -> None:
        """They are not in any segment."""
        if self._count:
            self._events.put(-self._count)
