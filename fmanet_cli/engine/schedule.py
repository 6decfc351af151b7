"""Windows in flight: some are computed or on their way back while the next ones are read."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import torch

from fmanet_cli.engine.device import Precision
from fmanet_cli.engine.memory import USABLE_SHARE, WORK_IN_A_PASS, bytes_per_pixel, fits, free_memory
from fmanet_cli.engine.stopping import stop_on
from fmanet_cli.model.config import FMANetConfig

Value = TypeVar("Value")
Maker = TypeVar("Maker")

WINDOWS_AT_ONCE = 2
"""Windows that a CPU computes side by side: many of a window's operations are too small to be shared well among
threads, and each window needs its own working memory."""

SIDE_BY_SIDE_BYTES = 1 << 30
"""Memory that all windows side by side may need; larger frames are shared well among threads as they are."""

MOST_IN_A_PASS = 8


def windows_at_once(pixels: int, *, config: FMANetConfig, device: torch.device, precision: Precision) -> int:
    """How many windows, or tiles of so many low-resolution pixels, are computed side by side.

    More than one only on a CPU, where there is a thread for each and the memory for all.
    """
    count = min(WINDOWS_AT_ONCE, torch.get_num_threads())
    if device.type != "cpu" or count < 2:
        return 1
    available = free_memory(device)
    needed = count * pixels * bytes_per_pixel(config, precision)
    if needed > SIDE_BY_SIDE_BYTES:
        return 1
    return count if available is None or needed <= available * USABLE_SHARE else 1


def windows_in_a_pass(
    pixels: int, *, parameters: int, config: FMANetConfig, device: torch.device, precision: Precision
) -> int:
    """How many windows of so many low-resolution pixels fill a GPU in one pass; a CPU has them side by side.

    Args:
        pixels: of a frame.
        parameters: of the network, to which its multiply-adds for a pixel are in proportion.
        config: of the network.
        device: where it runs.
        precision: in which it runs.
    """
    if device.type != "cuda":
        return 1
    most = max(1, min(MOST_IN_A_PASS, WORK_IN_A_PASS // (parameters * pixels)))
    sizes = {"config": config, "device": device, "precision": precision}
    return next((count for count in range(most, 1, -1) if fits(pixels, windows=count, **sizes)), 1)  # type: ignore[arg-type]


def in_groups(items: Iterable[Value], size: Callable[[], int]) -> Iterator[list[Value]]:
    """Groups of `size` items, as that is now, in order; the last, also before an exception of `items`, may be smaller.

    A group belongs to its taker, who may empty it.
    """
    group: list[Value] = []
    try:
        for item in items:
            group.append(item)
            if len(group) >= size():
                yield group
                group = []
    except Exception:
        if group:
            yield group
        raise
    if group:
        yield group


def in_order(started: Iterator[Callable[[], Value]], *, limit: int) -> Iterator[Value]:
    """Call for the results of what is started, in order, at most `limit` started and not yet called for.

    Where starting fails, the results of what was started before come first.
    """
    pending: deque[Callable[[], Value]] = deque()
    failure: Exception | None = None
    while failure is None:
        try:
            pending.append(next(started))
        except StopIteration:
            break
        except Exception as error:
            failure = error
        if len(pending) >= limit:
            yield pending.popleft()()
    while pending:
        yield pending.popleft()()
    if failure is not None:
        raise failure


class Once(Generic[Maker, Value]):
    """A value that several threads need and one of them makes."""

    def __init__(self, make: Callable[[Maker], Value]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made_by: Maker | None = None
        self._value: Any = None

    def get(self, maker: Maker) -> Value:
        """Make it, wait for the thread that does, or take what is there; what another maker has made does not count."""
        with self._lock:
            if self._made_by is not maker:
                self._value = None
                self._value = self._make(maker)
                self._made_by = maker
            return self._value

    def is_made_by(self, maker: Maker) -> bool:
        """Whether it is there, made by this maker."""
        with self._lock:
            return self._made_by is maker

    def give(self, maker: Maker, value: Value) -> None:
        """What a maker has made together with others."""
        with self._lock:
            self._value, self._made_by = value, maker

    def forget(self) -> None:
        """Free the value; who asks again has it made again."""
        with self._lock:
            self._value = self._made_by = None


class Turns:
    """Who may compute: everybody, or one alone after memory ran out."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._is_alone = False

    @contextlib.contextmanager
    def taken(self) -> Iterator[bool]:
        """Wait for a turn; whether nobody else can have one meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._is_alone and self._running))
            self._running += 1
            is_alone = self._is_alone
        try:
            yield is_alone
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def one_at_a_time(self) -> None:
        """Turns that begin from now on are alone."""
        with self._changed:
            self._is_alone = True


class Workers:
    """Threads that compute side by side, each with its share of torch's threads; a context manager.

    Leaving the block stops the work at its next step, and waits until the threads are gone.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._stops = threading.Event()
        self._share = max(1, torch.get_num_threads() // count)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="window", initializer=self._begin)

    def __enter__(self) -> Workers:
        total = torch.get_num_threads()
        all_began = threading.Barrier(self._count + 1)
        for _ in range(self._count):
            self._pool.submit(all_began.wait)
        all_began.wait()
        # torch keeps the number of threads for each thread, and gives new ones what was set last: set it back.
        torch.set_num_threads(total)
        return self

    def __exit__(self, *_: object) -> None:
        self._stops.set()
        self._pool.shutdown(cancel_futures=True)

    def submit(self, compute: Callable[[], Value]) -> Callable[[], Value]:
        """Hand work to the next free thread; the function given back waits for its result or raises its exception."""
        return self._pool.submit(compute).result

    def _begin(self) -> None:
        stop_on(self._stops)
        # A new thread takes the process's number when it first asks, and would do so later and lose its own.
        torch.get_num_threads()
        torch.set_num_threads(self._share)
