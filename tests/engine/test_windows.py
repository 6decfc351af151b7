"""One window for every item, the ends included."""

from __future__ import annotations

import pytest

from fmanet_cli.engine.windows import sliding_windows
from fmanet_cli.errors import OptionError


@pytest.mark.parametrize(
    ("items", "radius", "expected"),
    [
        ("abcd", 1, ["bab", "abc", "bcd", "cdc"]),
        ("abcde", 2, ["cbabc", "babcd", "abcde", "bcded", "cdedc"]),
        ("ab", 1, ["bab", "aba"]),
        ("ab", 2, ["ababa", "babab"]),
        ("a", 2, ["aaaaa"]),
        ("", 1, []),
        ("abc", 0, ["a", "b", "c"]),
    ],
)
def test_windows(items: str, radius: int, expected: list[str]) -> None:
    assert ["".join(window) for window in sliding_windows(items, radius)] == expected


def test_reads_only_as_far_ahead_as_a_window_reaches() -> None:
    taken = []

    def source():
        for item in range(100):
            taken.append(item)
            yield item

    windows = sliding_windows(source(), 1)
    assert next(windows) == (1, 0, 1)
    assert taken == [0, 1]
    assert next(windows) == (0, 1, 2)
    assert taken == [0, 1, 2]


@pytest.mark.parametrize(
    ("items", "radius", "expected"),
    [
        ("abcDef", 1, ["bab", "abc", "bcb", "eDe", "Def", "efe"]),
        ("abcDe", 2, ["cbabc", "babcb", "abcba", "DeDeD", "eDeDe"]),
        ("aBC", 1, ["aaa", "BBB", "CCC"]),
        ("Ab", 1, ["bAb", "AbA"]),
    ],
)
def test_no_window_reaches_into_another_run(items: str, radius: int, expected: list[str]) -> None:
    windows = sliding_windows(items, radius, starts_run=str.isupper)
    assert ["".join(window) for window in windows] == expected


def test_a_negative_radius_is_refused() -> None:
    with pytest.raises(OptionError, match="a radius of at least 0, got -1"):
        list(sliding_windows("abc", -1))
