"""Sliding windows over a stream, one for every item, the first and the last of each run included."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from fmanet_cli.errors import OptionError

Item = TypeVar("Item")


def sliding_windows(
    items: Iterable[Item],
    radius: int,
    *,
    starts_run: Callable[[Item], bool] | None = None,
) -> Iterator[tuple[Item, ...]]:
    """Yield one window of `2 * radius + 1` items centred on each item, in order.

    The ends are mirrored at the end item, which is not doubled. An item for which `starts_run` is true ends the run
    before it: no window holds items of two runs. Holds one window in memory and reads `radius` items ahead.

    >>> ["".join(window) for window in sliding_windows("abcd", 1)]
    ['bab', 'abc', 'bcd', 'cdc']
    >>> ["".join(window) for window in sliding_windows("abcDef", 1, starts_run=str.isupper)]
    ['bab', 'abc', 'bcb', 'eDe', 'Def', 'efe']

    Raises:
        OptionError: `radius` is negative.
    """
    if radius < 0:
        raise OptionError(f"windows need a radius of at least 0, got {radius}")
    held: deque[Item] = deque(maxlen=2 * radius + 1)
    count = centre = 0
    for item in items:
        if count and starts_run is not None and starts_run(item):
            yield from _last_windows(held, count, centre, radius)
            held.clear()
            count = centre = 0
        held.append(item)
        count += 1
        if count > radius:
            yield tuple(held) if centre >= radius else _window(held, count, centre, radius, last=None)
            centre += 1
    yield from _last_windows(held, count, centre, radius)


def _last_windows(held: deque[Item], count: int, centre: int, radius: int) -> Iterator[tuple[Item, ...]]:
    """The windows from item `centre` to the end of a run of `count` items."""
    for index in range(centre, count):
        yield _window(held, count, index, radius, last=count - 1)


def _window(held: deque[Item], count: int, centre: int, radius: int, *, last: int | None) -> tuple[Item, ...]:
    """The window around item `centre`; `held` are the newest of `count` items, `last` the end where it is known."""
    first = count - len(held)
    return tuple(held[inside(index, last) - first] for index in range(centre - radius, centre + radius + 1))


def inside(index: int, last: int | None) -> int:
    """The index of the item that stands in at `index`, for items 0 to `last` (None: the end is not near)."""
    index = abs(index)
    if last is None:
        return index
    if last == 0:
        return 0
    index %= 2 * last
    return min(index, 2 * last - index)
