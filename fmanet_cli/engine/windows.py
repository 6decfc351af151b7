"""Sliding windows over a stream, one for every item, the first and the last of each run included."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeVar

from fmanet_cli.errors import OptionError

Item = TypeVar("Item")
Padding = Literal["reflect", "repeat"]


def sliding_windows(
    items: Iterable[Item],
    radius: int,
    *,
    padding: Padding = "reflect",
    starts_run: Callable[[Item], bool] | None = None,
) -> Iterator[tuple[Item, ...]]:
    """Yields one window of `2 * radius + 1` items centred on each item, in order.

    At the ends, `reflect` mirrors at the end item without doubling it and `repeat` repeats the end item. An item for
    which `starts_run` is true ends the run before it: no window holds items of two runs. Holds one window in memory
    and reads `radius` items ahead.

    >>> ["".join(window) for window in sliding_windows("abcd", 1)]
    ['bab', 'abc', 'bcd', 'cdc']
    >>> ["".join(window) for window in sliding_windows("abcd", 1, padding="repeat")]
    ['aab', 'abc', 'bcd', 'cdd']
    >>> ["".join(window) for window in sliding_windows("abcDef", 1, starts_run=str.isupper)]
    ['bab', 'abc', 'bcb', 'eDe', 'Def', 'efe']

    Raises:
        OptionError: `radius` is negative or `padding` is unknown.
    """
    if radius < 0 or padding not in ("reflect", "repeat"):
        raise OptionError(f"windows need radius >= 0 and padding reflect or repeat, got {radius} and {padding!r}")
    held: deque[Item] = deque(maxlen=2 * radius + 1)
    count = centre = 0
    for item in items:
        if count and starts_run is not None and starts_run(item):
            yield from _last_windows(held, count, centre, radius, padding)
            held.clear()
            count = centre = 0
        held.append(item)
        count += 1
        if count > radius:
            yield _window(held, count, centre, radius, padding, last=None)
            centre += 1
    yield from _last_windows(held, count, centre, radius, padding)


def _last_windows(
    held: deque[Item], count: int, centre: int, radius: int, padding: Padding
) -> Iterator[tuple[Item, ...]]:
    """The windows from item `centre` to the end of a run of `count` items."""
    for index in range(centre, count):
        yield _window(held, count, index, radius, padding, last=count - 1)


def _window(
    held: deque[Item], count: int, centre: int, radius: int, padding: Padding, *, last: int | None
) -> tuple[Item, ...]:
    """The window around item `centre`; `held` are the newest of `count` items, `last` the end where it is known."""
    first = count - len(held)
    return tuple(held[inside(index, last, padding) - first] for index in range(centre - radius, centre + radius + 1))


def inside(index: int, last: int | None, padding: Padding) -> int:
    """The index of the item that stands in at `index`, for items 0 to `last` (None: the end is not near)."""
    if padding == "repeat" or last == 0:
        return max(index, 0) if last is None else min(max(index, 0), last)
    index = abs(index)
    if last is None:
        return index
    index %= 2 * last
    return min(index, 2 * last - index)
