"""Windows in flight: some are computed or on their way back while the next ones are read."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from fmanet_cli.engine.device import Precision
from fmanet_cli.engine.memory import USABLE_SHARE, WORK_IN_A_PASS, bytes_per_pixel, fits, free_memory
from fmanet_cli.engine.stopping import stop_on
from fmanet_cli.model.config import FMANetConfig

Value = TypeVar("Value")
Result = TypeVar("Result")

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


def in_order(
    items: Iterator[Value],
    begin: Callable[[list[Value]], Iterable[Callable[[], Result]]],
    *,
    size: Callable[[], int],
    limit: int,
) -> Iterator[Result]:
    """Yield the results of what is begun with items, in order.

    Where an item, or beginning with it, fails, the results of what was begun before come first.

    Args:
        items: each gives one result.
        begin: gives for each item of a group the call that waits for its result; may empty the group.
        size: items in a group, as that is now; the last one may be smaller.
        limit: calls that are begun and not yet waited for, at most.
    """
    pending: deque[Callable[[], Result]] = deque()
    end: Exception | None = None
    while end is None:
        group: list[Value] = []
        try:
            wanted = size()
            while len(group) < wanted:
                group.append(next(items))
        except Exception as error:
            end = error
        begun = iter(begin(group))
        while True:
            try:
                pending.append(next(begun))
            except StopIteration:
                break
            except Exception as error:
                end = error
                break
            if len(pending) >= limit:
                yield pending.popleft()()
    while pending:
        yield pending.popleft()()
    if not isinstance(end, StopIteration):
        raise end


class Turns:
    """Who may compute: everybody, or one alone after memory ran out; each turn is a block."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._is_alone = False

    def __enter__(self) -> bool:
        """Wait for a turn; return whether it is had alone, so that whatever memory there is is its own."""
        with self._changed:
            while self._is_alone and self._running:
                self._changed.wait()
            self._running += 1
            return self._is_alone

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def one_at_a_time(self) -> None:
        """Let every turn from now on wait until no other runs, as after a shortage of memory."""
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
