"""Stages overlap, in order, within bounds, and one that fails stops the others with its own error."""

from __future__ import annotations

import threading
import time

import pytest

from fmanet_cli.restore.pipeline import BackgroundConsumer, Prefetched


def test_prefetching_keeps_order_and_bound() -> None:
    taken = []

    def source():
        for item in range(20):
            taken.append(item)
            yield item

    with Prefetched(source(), depth=2) as items:
        assert next(items) == 0
        time.sleep(0.2)
        assert len(taken) <= 4
        assert list(items) == list(range(1, 20))
        assert list(items) == []


def test_an_error_of_the_source_comes_after_its_items() -> None:
    def source():
        yield 1
        raise ValueError("broken at 2")

    with Prefetched(source(), depth=4) as items:
        assert next(items) == 1
        with pytest.raises(ValueError, match="broken at 2"):
            next(items)


@pytest.mark.parametrize("count", [0, 1, 10])
def test_leaving_early_stops_the_thread(count: int) -> None:
    before = threading.active_count()
    with Prefetched(iter(range(10**9)), depth=2) as items:
        assert [next(items) for _ in range(count)] == list(range(count))
    assert threading.active_count() == before


def test_consumer_takes_everything_in_order() -> None:
    taken: list[int] = []
    with BackgroundConsumer(taken.append, depth=2) as consumer:
        for item in range(50):
            consumer.put(item)
    assert taken == list(range(50))


def test_an_error_of_the_consumer_reaches_the_producer() -> None:
    def consume(item: int) -> None:
        if item == 3:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), BackgroundConsumer(consume, depth=1) as consumer:
        for item in range(10**6):
            consumer.put(item)


def test_an_error_of_the_producer_drops_what_waits() -> None:
    taken: list[int] = []
    started = threading.Event()

    def consume(item: int) -> None:
        started.set()
        time.sleep(0.05)
        taken.append(item)

    with pytest.raises(ValueError, match="stop"), BackgroundConsumer(consume, depth=8) as consumer:
        for item in range(8):
            consumer.put(item)
        started.wait()
        raise ValueError("stop")
    assert len(taken) < 8
