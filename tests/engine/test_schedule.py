"""Windows side by side: the same frames in the same order, bounded, and nothing left behind when one fails."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from fmanet_cli.engine import memory
from fmanet_cli.engine import run as run_module
from fmanet_cli.engine import schedule as inflight
from fmanet_cli.engine.device_frame import DeviceFrame
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.run import MAX_PENDING
from fmanet_cli.engine.schedule import Turns, Workers, in_order, windows_at_once, windows_in_a_pass
from fmanet_cli.model.config import LITE, PAPER, FMANetConfig
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.video.frames import Frame
from fmanet_cli.video.pixels.colour import Colour, PlaneFormat, rgb_to_planes
from support.moving_frames import make_frames


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before, threads = torch.get_num_threads(), threading.active_count()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
    assert threading.active_count() == threads


def restored_images(restorer: Restorer, frames: list[Frame]) -> list[np.ndarray]:
    return [frame.image for frame in restorer.restore(iter(frames))]


@pytest.mark.parametrize("tile", [0, 32])
def test_frames_do_not_depend_on_how_many_are_computed_at_once(
    tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch, tile: int
) -> None:
    frames = list(make_frames(6, 40, 48))
    frames[3] = replace(frames[3], starts_shot=True)
    restorer = Restorer(tiny_model, device="cpu", precision="fp32", tile=tile, tile_overlap=8)
    at_once = restored_images(restorer, frames)
    monkeypatch.setattr(run_module, "windows_at_once", lambda *_, **__: 1)
    torch.set_num_threads(1)
    one_by_one = restored_images(restorer, frames)
    torch.set_num_threads(2)
    np.testing.assert_array_equal(at_once, one_by_one)


def test_windows_are_computed_side_by_side_with_their_share_of_the_threads(
    tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(4)
    restorer = Restorer(tiny_model, device="cpu", precision="fp32", tile=0)
    both = threading.Barrier(2)
    window, threads = restorer.runner.window, []

    def meeting_window(states):
        both.wait(timeout=20)
        threads.append((threading.current_thread().name.rstrip("_0123456789"), torch.get_num_threads()))
        return window(states)

    monkeypatch.setattr(restorer.runner, "window", meeting_window)
    assert len(list(restorer.restore(make_frames(4)))) == 4
    assert threads == [("window", 2)] * 4
    assert torch.get_num_threads() == 4
    found = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [4]
    torch.set_num_threads(2)


def test_each_frame_is_looked_at_once_and_not_long_before_its_window(
    tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = Restorer(tiny_model, device="cpu", precision="fp32", tile=0)
    frame_state, seen, taken = restorer.runner.frame_state, Counter(), []
    monkeypatch.setattr(
        restorer.runner, "frame_state", lambda frame: seen.update([float(frame.sum())]) or frame_state(frame)
    )
    frames = (taken.append(0) or frame for frame in make_frames(12))
    for done, _ in enumerate(restorer.restore(frames), start=1):
        assert len(taken) <= done - 1 + MAX_PENDING + 1
    assert len(seen) == 12
    assert set(seen.values()) == {1}


def test_a_failing_window_comes_after_those_before_it_with_its_own_traceback(
    tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = Restorer(tiny_model, device="cpu", precision="fp32", tile=0)
    frames = list(make_frames(6))
    window, third = restorer.runner.window, torch.from_numpy(frames[2].image).permute(2, 0, 1)

    def failing_window(states):
        if torch.equal(states[1].frame, third):
            raise ValueError("the third is bad")
        return window(states)

    monkeypatch.setattr(restorer.runner, "window", failing_window)
    restored = restorer.restore(iter(frames))
    assert [next(restored).pts, next(restored).pts] == [frames[0].pts, frames[1].pts]
    with pytest.raises(ValueError, match="the third is bad") as caught:
        next(restored)
    assert any(entry.name == "failing_window" for entry in caught.traceback)


def test_frames_before_a_broken_one_are_restored(tiny_model: FMANet) -> None:
    def broken() -> Iterator[Frame]:
        yield from make_frames(5)
        raise OSError("damaged at 5")

    restored, found = Restorer(tiny_model, device="cpu", precision="fp32", tile=0).restore(broken()), []
    with pytest.raises(OSError, match="damaged at 5"):
        found.extend(frame.pts for frame in restored)
    assert found == [frame.pts for frame in make_frames(4)]


@pytest.mark.parametrize("interrupt", [True, False], ids=["interrupted", "closed"])
def test_ending_early_stops_windows_at_their_next_step(
    tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch, interrupt: bool
) -> None:
    restorer = Restorer(tiny_model, device="cpu", precision="fp32", tile=0)
    window, calls = restorer.runner.window, itertools.count()

    def endless_window(states):
        deadline = time.monotonic() + 60
        while next(calls) > 0 and time.monotonic() < deadline:
            window(states)
        return window(states)

    monkeypatch.setattr(restorer.runner, "window", endless_window)
    restored = restorer.restore(make_frames(8))
    next(restored)
    began = time.monotonic()
    if interrupt:
        with pytest.raises(KeyboardInterrupt):
            restored.throw(KeyboardInterrupt)
    else:
        restored.close()
    assert time.monotonic() - began < 10


def test_out_of_memory_tries_alone_before_it_cuts_tiles(tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = Restorer(tiny_model, device="cpu", precision="fp32", tile=0)
    frames = list(make_frames(6))
    expected = restored_images(restorer, frames)
    window, lock, running = restorer.runner.window, threading.Lock(), []
    both, run = threading.Barrier(2), restorer.start(*frames[0].size)

    def window_with_room_for_one(states):
        with lock:
            running.append(0)
            crowded = len(running) > 1
        try:
            if not run._turns._is_alone:
                both.wait(timeout=20)
            if crowded:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
            return window(states)
        finally:
            with lock:
                running.pop()

    monkeypatch.setattr(restorer.runner, "window", window_with_room_for_one)
    np.testing.assert_array_equal([frame.image for frame in run.restore(frames)], expected)
    assert (run.tiling.size, run.warnings) == (0, ())


def test_coded_frames_are_the_planes_of_the_restored_ones(tiny_model: FMANet) -> None:
    tiny_model.colour_order = "bgr"
    restorer = Restorer(tiny_model, device="cpu", precision="fp32")
    plane_format = PlaneFormat(Colour(6, False), 10, 1, 1)
    frames = list(make_frames(3, 17, 23))
    for coded, frame in zip(restorer.restore_planar(frames, plane_format), restorer.restore(frames), strict=True):
        assert (coded.pts, coded.time_base, coded.duration) == (frame.pts, frame.time_base, frame.duration)
        expected = rgb_to_planes(frame.image, colour=plane_format.colour, bits=10, horizontal_shift=1, vertical_shift=1)
        for plane, truth in zip(coded.planes, expected, strict=True):
            assert plane.dtype == np.uint16
            assert np.abs(plane.astype(int) - truth).max() <= 1


def test_windows_at_once_need_threads_memory_and_a_cpu(tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"config": tiny_model.config, "device": torch.device("cpu"), "precision": "fp32"}
    needed = 2 * 1000 * inflight.bytes_per_pixel(tiny_model.config, "fp32") / inflight.USABLE_SHARE
    for free, expected in ((needed * 1.01, 2), (needed * 0.99, 1), (None, 2)):
        monkeypatch.setattr(inflight, "free_memory", lambda _, free=free: free)
        assert windows_at_once(1000, **options) == expected
    large = int(inflight.SIDE_BY_SIDE_BYTES / 2 / inflight.bytes_per_pixel(tiny_model.config, "fp32"))
    assert [windows_at_once(pixels, **options) for pixels in (large, large + 1)] == [2, 1]
    assert windows_at_once(1000, **options | {"device": torch.device("cuda")}) == 1
    torch.set_num_threads(1)
    assert windows_at_once(1000, **options) == 1
    torch.set_num_threads(2)


def begun_with(numbers: list[int], events: list[str]) -> Iterator[Callable[[], int]]:
    for number in numbers:
        if number == 7:
            raise OSError("7 fails")
        events.append(f"begin {number}")
        yield lambda number=number: events.append(f"wait {number}") or number


def test_order_and_bound_of_what_is_begun() -> None:
    events: list[str] = []
    assert list(in_order(iter(range(5)), lambda group: begun_with(group, events), size=lambda: 1, limit=2)) == [
        *range(5)
    ]
    assert events[:4] == ["begin 0", "begin 1", "wait 0", "begin 2"]
    assert events[-2:] == ["wait 3", "wait 4"]


def test_results_before_a_failure_come_before_it() -> None:
    def broken() -> Iterator[int]:
        yield from range(3)
        raise ValueError("damaged")

    groups: list[list[int]] = []

    def begin(group: list[int]) -> Iterator[Callable[[], int]]:
        groups.append(list(group))
        return begun_with(group, [])

    results = in_order(broken(), begin, size=lambda: 2, limit=9)
    assert [next(results), next(results), next(results)] == [0, 1, 2]
    with pytest.raises(ValueError, match="damaged"):
        next(results)
    assert groups == [[0, 1], [2]]
    results = in_order(iter(range(5, 10)), begin, size=lambda: 4, limit=9)
    assert [next(results), next(results)] == [5, 6]
    with pytest.raises(OSError, match="7 fails"):
        next(results)


class Answering:
    """Gives these answers for frames."""

    def __init__(self, *answers: object) -> None:
        self._answers = iter(answers)

    def frame_state(self, _: object) -> object:
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    window = frame_state


def test_a_state_is_made_again_only_after_failure_or_forgetting_or_for_another_runner() -> None:
    me, you = Answering(ValueError("not yet"), "first", "second"), Answering("third")
    frame = DeviceFrame(0, np.zeros((1, 1, 3), np.float32), torch.zeros(3, 1, 1), torch.zeros(3, 1, 1))
    with pytest.raises(ValueError, match="not yet"):
        frame.state(me)
    assert [frame.state(me), frame.state(me)] == ["first", "first"]
    frame.forget()
    assert frame.state(me) == "second"
    assert frame.state(you) == "third"


def test_a_turn_alone_waits_for_those_under_way() -> None:
    turns, order, inside, may_leave = Turns(), [], threading.Event(), threading.Event()

    def early() -> None:
        with turns as is_alone:
            inside.set()
            may_leave.wait(20)
            order.append(("early", is_alone))

    thread = threading.Thread(target=early)
    thread.start()
    inside.wait(20)
    turns.one_at_a_time()
    threading.Timer(0.1, may_leave.set).start()
    with turns as is_alone:
        order.append(("late", is_alone))
    thread.join()
    assert order == [("early", False), ("late", True)]


def test_workers_report_results_and_errors() -> None:
    with Workers(2) as workers:
        results = [workers.submit(lambda number=number: number * number) for number in range(6)]
        failed = workers.submit(lambda: {}[1])
        assert [result() for result in results] == [0, 1, 4, 9, 16, 25]
        with pytest.raises(KeyError, match="1"):
            failed()


@pytest.mark.parametrize("memory_fails", [False, True], ids=["enough memory", "out of memory"])
def test_several_windows_in_a_pass_give_the_same_frames(
    tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch, memory_fails: bool
) -> None:
    torch.set_num_threads(1)
    frames = list(make_frames(7))
    frames[4] = replace(frames[4], starts_shot=True)
    restorer = Restorer(tiny_model, device="cpu", precision="fp32", tile=0)
    one_by_one = restored_images(restorer, frames)
    sizes = []
    windows = restorer.runner.windows

    def noted_windows(batch):
        sizes.append(len(batch))
        if memory_fails and len(batch) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return windows(batch)

    monkeypatch.setattr(restorer.runner, "windows", noted_windows)
    monkeypatch.setattr(run_module, "windows_in_a_pass", lambda *_, **__: 3)
    run = restorer.start(*frames[0].size)
    grouped = [frame.image for frame in run.restore(frames)]
    assert sizes == ([3, 1, 1, 1, 1, 1, 1, 1] if memory_fails else [3, 3, 1])
    assert run.tiling.size == 0
    for found, expected in zip(grouped, one_by_one, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    torch.set_num_threads(2)


def test_little_work_shares_a_pass_on_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def passes(config: FMANetConfig, parameters: int, free: float, *pixels: int, device: str = "cuda") -> list[int]:
        monkeypatch.setattr(memory, "free_memory", lambda _: free)
        monkeypatch.setattr(memory, "strip_bytes", lambda _: memory.strip_bytes_of(int(free)))
        sizes = {"parameters": parameters, "config": config, "device": torch.device(device), "precision": "fp16"}
        return [windows_in_a_pass(count, **sizes) for count in pixels]

    assert passes(PAPER, 9_766_503, 80e9, 320 * 180, 160 * 90, 64, 10**6) == [1, 4, 8, 1]
    assert passes(LITE, 488_652, 80e9, 320 * 180, 640 * 360, 1280 * 720, 3840 * 2160) == [8, 4, 1, 1]
    assert passes(LITE, 488_652, 1.1e9, 320 * 180) == [4]
    assert passes(LITE, 488_652, 0.6e9, 320 * 180) == [1]
    assert passes(LITE, 488_652, 80e9, 64, device="cpu") == [1]
