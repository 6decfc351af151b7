"""Where spans begin: at cuts where there are any, and otherwise when one is full."""

from __future__ import annotations

import pytest

from fmanet_cli.video.write.span_grid import SpanGrid


@pytest.mark.parametrize(
    ("most", "cuts", "begins"),
    [
        (120, {30, 70, 400}, [0, 70, 190, 310, 400]),
        (120, set(), [0, 120, 240, 360, 480]),
        (120, set(range(500)), [0, 60, 120, 180, 240, 300, 360, 420, 480]),
        (1, {2}, list(range(500))),
        (3, {1, 2}, [0, 2, *range(5, 500, 3)]),
    ],
)
def test_spans_begin_at_cuts_and_when_they_are_full(most: int, cuts: set[int], begins: list[int]) -> None:
    grid = SpanGrid(most)
    assert [number for number in range(500) if grid.add(starts_shot=number in cuts)] == begins
    assert [number for number in range(600) if grid.begins(number)] == begins
