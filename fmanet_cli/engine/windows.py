"""Sliding windows over a stream, one for every item, the first and the last included."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Literal, TypeVar

from fmanet_cli.errors import OptionError

Item = TypeVar("Item")
Padding = Literal["reflect", "repeat"]


def sliding_windows(items: Iterable[Item], radius: int, *, padding: Padding = "reflect") -> Iterator[tuple[Item, ...]]:
    """Yields one window of `2 * radius + 1` items centred on each item, in order.

    At the ends, `reflect` mirrors at the end item without doubling it and `repeat` repeats the end item. Holds one
    window in memory and reads `radius` items ahead.

    >>> ["".join(window) for window in sliding_windows("abcd", 1)]
    ['bab', 'abc', 'bcd', 'cdc']
    >>> ["".join(window) for window in sliding_windows("abcd", 1, padding="repeat")]
    ['aab', 'abc', 'bcd', 'cdd']

    Raises:
        OptionError: `radius` is negative or `padding` is unknown.
    """
    if radius < 0 or padding not in ("reflect", "repeat"):
        raise OptionError(f"windows need radius >= 0 and padding reflect or repeat, got {radius} and {padding!r}")
    held: deque[Item] = deque(maxlen=2 * radius + 1)
    count = centre = 0
    for item in items:
        held.append(item)
        count += 1
        if count > radius:
            yield _window(held, count, centre, radius, padding, ended=False)
            centre += 1
    while centre < count:
        yield _window(held, count, centre, radius, padding, ended=True)
        centre += 1


def _window(
    held: deque[Item], count: int, centre: int, radius: int, padding: Padding, *, ended: bool
) -> tuple[Item, ...]:
    """The window around item `centre`; `held` are the newest of `count` items."""
    first = count - len(held)
    last = count - 1 if ended else None
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
