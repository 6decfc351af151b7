"""Windows shown again and batches made ahead."""

from __future__ import annotations

import itertools

import torch

from fmanet_cli.model.filtering import backward_warp
from fmanet_cli.training.prefetch import EveryNth, Reused, prefetch, spread
from fmanet_cli.training.windows import WindowBatch, downscale_window
from tests.training.conftest import SimpleWindows


class CountingWindows:
    """Batches of four windows whose pixels hold their own number."""

    def __init__(self) -> None:
        self.made = 0

    def batch(self, index: int) -> WindowBatch:
        self.made += 1
        number = (4.0 * index + torch.arange(4.0)).view(4, 1, 1, 1, 1)
        return WindowBatch(
            number.expand(4, 3, 3, 4, 4),
            number.expand(4, 3, 3, 16, 16),
            torch.zeros(4, 2, 3, 4, 4),
            torch.ones(4, 1, 3, 4, 4),
        )


def test_every_window_is_shown_as_often_as_asked():
    source = CountingWindows()
    reused = Reused(source, times=2, spacing=3)
    shown = [int(n) for index in range(40) for n in reused.batch(index).blurry[:, 0, 0, 0, 0]]
    whole = [shown.count(number) for number in range(12, 60)]
    assert whole == [2] * 48
    assert source.made < 25


def test_processes_share_the_making_of_windows_that_are_shown_again():
    sources = [CountingWindows() for _ in range(2)]
    shares = [EveryNth(Reused(source, times=4, spacing=4), number, 2) for number, source in enumerate(sources)]
    shown = [int(n) for index in range(64) for share in shares for n in share.batch(index).blurry[:, 0, 0, 0, 0]]
    assert [shown.count(number) for number in range(48, 120)] == [4] * 72
    assert [source.made for source in sources] == [22, 22]


def test_reuse_depends_on_the_number_alone():
    running = Reused(SimpleWindows(), times=2)
    for index in range(7):
        expected = running.batch(index)
    fresh = Reused(SimpleWindows(), times=2).batch(6)
    assert torch.equal(expected.blurry, fresh.blurry)
    assert torch.equal(expected.flow, fresh.flow)


def test_flow_fits_the_frames_in_every_orientation():
    reused = Reused(SimpleWindows(windows=2), times=2)
    lengths = set()
    for index in range(12):
        batch = reused.batch(index)
        small = downscale_window(batch.sharp)
        inner = (..., slice(2, -2), slice(2, -2))
        for t in (0, 2):
            warped = backward_warp(small[:, :, t], batch.flow[:, :, t])
            assert float((warped - small[:, :, 1])[inner].abs().mean()) < 0.02
        lengths.add(tuple(batch.flow[0, :, 0, 0, 0].tolist()))
    assert lengths == {(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)}


def test_batches_made_ahead_are_the_same_in_the_same_order():
    source = SimpleWindows()
    here = list(itertools.islice(prefetch(source, start=3, ahead=0), 3))
    ahead = list(itertools.islice(prefetch(source, start=3, ahead=2), 3))
    for mine, theirs, index in zip(here, ahead, (3, 4, 5), strict=True):
        assert torch.equal(mine.blurry, theirs.blurry)
        assert torch.equal(mine.blurry, source.batch(index).blurry)


def test_several_workers_show_every_batch_once_and_share_no_windows():
    times, workers, spacing = 4, 3, 6
    order = [spread(index, times, workers) for index in range(times * workers * 5)]
    assert sorted(order) == list(range(len(order)))
    made = [set() for _ in range(workers)]
    for place, index in enumerate(order):
        newest = index // times
        made[place % workers] |= {newest + age * spacing for age in range(times)}
    assert all(not (mine & theirs) for mine, theirs in itertools.combinations(made, 2))
    assert [spread(index, times, 1) for index in range(9)] == list(range(9))


def test_workers_deliver_the_batches_of_that_order():
    source = Reused(SimpleWindows(windows=4), times=2, spacing=2)
    batches = prefetch(source, start=0, ahead=1, workers=2)
    for index in range(4):
        assert torch.equal(next(batches).blurry, source.batch(spread(index, 2, 2)).blurry)
