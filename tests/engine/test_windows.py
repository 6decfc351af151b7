"""One window for every item, the ends included."""

from __future__ import annotations

import pytest

from fmanet_cli.engine.windows import sliding_windows
from fmanet_cli.errors import OptionError


@pytest.mark.parametrize(
    ("items", "radius", "padding", "expected"),
    [
        ("abcd", 1, "reflect", ["bab", "abc", "bcd", "cdc"]),
        ("abcd", 1, "repeat", ["aab", "abc", "bcd", "cdd"]),
        ("abcde", 2, "reflect", ["cbabc", "babcd", "abcde", "bcded", "cdedc"]),
        ("abcde", 2, "repeat", ["aaabc", "aabcd", "abcde", "bcdee", "cdeee"]),
        ("ab", 1, "reflect", ["bab", "aba"]),
        ("ab", 2, "reflect", ["ababa", "babab"]),
        ("a", 2, "reflect", ["aaaaa"]),
        ("a", 1, "repeat", ["aaa"]),
        ("", 1, "reflect", []),
        ("abc", 0, "reflect", ["a", "b", "c"]),
    ],
)
def test_windows(items: str, radius: int, padding: str, expected: list[str]) -> None:
    assert ["".join(window) for window in sliding_windows(items, radius, padding=padding)] == expected


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
    ("items", "radius", "padding", "expected"),
    [
        ("abcDef", 1, "reflect", ["bab", "abc", "bcb", "eDe", "Def", "efe"]),
        ("abcDef", 1, "repeat", ["aab", "abc", "bcc", "DDe", "Def", "eff"]),
        ("abcDe", 2, "reflect", ["cbabc", "babcb", "abcba", "DeDeD", "eDeDe"]),
        ("aBC", 1, "reflect", ["aaa", "BBB", "CCC"]),
        ("Ab", 1, "reflect", ["bAb", "AbA"]),
    ],
)
def test_no_window_reaches_into_another_run(items: str, radius: int, padding: str, expected: list[str]) -> None:
    windows = sliding_windows(items, radius, padding=padding, starts_run=str.isupper)
    assert ["".join(window) for window in windows] == expected


def test_unknown_padding_is_refused() -> None:
    with pytest.raises(OptionError, match="padding reflect or repeat, got 1 and 'zero'"):
        list(sliding_windows("abc", 1, padding="zero"))
