"""A run belongs to one film: nothing that happened to a film is left for the next one."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fmanet_cli.engine import memory
from fmanet_cli.engine import run as run_module
from fmanet_cli.engine.repeats import shows_the_same
from fmanet_cli.engine.resizing import resized
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.tiling import Tiling
from fmanet_cli.errors import DeviceError, OptionError, WeightsError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.resize import resize_image
from fmanet_cli.video.frames import Frame
from fmanet_cli.video.pixels.colour import Colour, PlaneFormat, rgb_to_planes
from support.moving_frames import make_frames


class Enlarging:
    """Every pixel four times in each direction; several windows in a pass, as far as memory allows."""

    def __init__(self, *, most_pixels: int = 1 << 30, most_windows: int = 1 << 30) -> None:
        self.most_pixels, self.most_windows = most_pixels, most_windows
        self.sizes: list[tuple[int, ...]] = []

    def frame_state(self, frame: torch.Tensor) -> torch.Tensor:
        return frame.clone()

    def frame_states(self, frames: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [self.frame_state(frame) for frame in frames]

    def window(self, states: Sequence[torch.Tensor]) -> torch.Tensor:
        return self.windows([states])[0]

    def windows(self, batch: Sequence[Sequence[torch.Tensor]]) -> list[torch.Tensor]:
        height, width = batch[0][0].shape[1:]
        self.sizes.append((len(batch), height, width))
        if height * width > self.most_pixels or len(batch) > self.most_windows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return [states[len(states) // 2].repeat_interleave(4, 1).repeat_interleave(4, 2) for states in batch]


def restorer(model: FMANet, runner: object, **options: object) -> Restorer:
    return Restorer(model, **{"device": "cpu", "precision": "fp32", "runner": runner, **options})  # type: ignore[arg-type]


def test_a_film_after_a_shortage_of_memory_is_tried_whole_again(tiny_model: FMANet) -> None:
    engine = restorer(tiny_model, Enlarging(most_pixels=3000))
    large = engine.start(40, 90)
    assert len(list(large.restore(make_frames(3, 40, 90)))) == 3
    assert large.tiling == Tiling("auto", 45, 16)
    assert large.warnings == ("out of memory on cpu at 90 pixels: going on with tiles of 45 pixels",)
    small = engine.start(48, 52)
    assert len(list(small.restore(make_frames(3, 48, 52)))) == 3
    assert (small.tiling, small.warnings) == (Tiling("auto", 0, 16), ())


def test_each_film_is_planned_for_its_own_size(tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch) -> None:
    per_pixel = memory.bytes_per_pixel(tiny_model.config, "fp32")
    free = (memory.workspace_bytes(torch.device("cpu")) + 50 * 50 * per_pixel) / memory.USABLE_SHARE
    monkeypatch.setattr(memory, "free_memory", lambda _: free)
    engine = restorer(tiny_model, Enlarging())
    tilings = [engine.start(height, width).tiling for height, width in ((24, 32), (96, 128), (24, 32))]
    assert tilings == [Tiling("auto", 0), Tiling("auto", 48), Tiling("auto", 0)]


def test_a_film_goes_on_as_it_was_cut_before(tiny_model: FMANet) -> None:
    run = restorer(tiny_model, Enlarging()).start(40, 90, tiling=Tiling("auto", 45, 16))
    assert [frame.image.shape for frame in run.restore(make_frames(1, 40, 90))] == [(160, 360, 3)]
    assert (run.tiling.size, run.warnings) == (45, ())


def test_a_pass_that_was_too_large_is_not_tried_again(tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "windows_in_a_pass", lambda *_, **__: 8)
    monkeypatch.setattr(run_module, "windows_at_once", lambda *_, **__: 1)
    runner = Enlarging(most_windows=2)
    run = restorer(tiny_model, runner, tile=0).start(12, 16)
    frames = list(make_frames(20, 12, 16))
    assert [frame.pts for frame in run.restore(frames)] == [frame.pts for frame in frames]
    assert [size[0] for size in runner.sizes] == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    assert (run.tiling.size, run.warnings) == (0, ())


def test_no_more_states_than_a_window_has_are_alive_after_a_pass_failed(
    tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    counts = []

    class Counting(Enlarging):
        def frame_state(self, frame: torch.Tensor) -> torch.Tensor:
            alive.add(state := frame.clone())
            return state

        def windows(self, batch: Sequence[Sequence[torch.Tensor]]) -> list[torch.Tensor]:
            counts.append(len(alive))
            return super().windows(batch)

    monkeypatch.setattr(run_module, "windows_in_a_pass", lambda *_, **__: 4)
    monkeypatch.setattr(run_module, "windows_at_once", lambda *_, **__: 1)
    run = restorer(tiny_model, Counting(most_windows=1), tile=0).start(12, 16)
    assert len(list(run.restore(make_frames(9, 12, 16)))) == 9
    # The pass of four, then of two, then one by one.
    assert counts[:2] == [5, 3]
    assert max(counts[2:]) == 3


@pytest.mark.parametrize(("place", "in_a_pass"), [("upload", 1), ("upload", 8), ("convert", 1)])
def test_memory_that_runs_out_beside_the_network_ends_in_tiles(
    tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch, place: str, in_a_pass: int
) -> None:
    engine, failures = restorer(tiny_model, Enlarging()), iter([True, True])
    name = {"upload": "upload", "convert": "as_image"}[place]
    plain = getattr(engine, name)

    def failing(image: object) -> object:
        if next(failures, False):
            raise RuntimeError("CUDA error: out of memory")
        return plain(image)

    monkeypatch.setattr(engine, name, failing)
    monkeypatch.setattr(run_module, "windows_at_once", lambda *_, **__: 1)
    monkeypatch.setattr(run_module, "windows_in_a_pass", lambda *_, **__: in_a_pass)
    run, frames = engine.start(40, 90), list(make_frames(3, 40, 90))
    restored = list(run.restore(frames))
    assert run.tiling.size == 45
    for frame, expected in zip(restored, frames, strict=True):
        np.testing.assert_allclose(frame.image[::4, ::4], expected.image, atol=1e-6)


def test_frames_of_a_pass_are_computed_in_one_pass_too(tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "windows_in_a_pass", lambda *_, **__: 8)
    monkeypatch.setattr(run_module, "windows_at_once", lambda *_, **__: 1)
    restoring = Restorer(tiny_model, device="cpu", precision="fp32", tile=0)
    passes, compute = [], restoring.runner._frame_states

    def noted(frames: Sequence[torch.Tensor]) -> object:
        passes.append(len(frames))
        return compute(frames)

    monkeypatch.setattr(restoring.runner, "_frame_states", noted)
    assert len(list(restoring.restore(make_frames(24, 12, 16)))) == 24
    # One ahead at first; the last window's neighbour is mirrored.
    assert passes == [9, 8, 7]


@pytest.mark.parametrize("size", [(30, 50), (96, 128), (20, 24)])
def test_frames_are_resized_where_they_are_restored(tiny_model: FMANet, size: tuple[int, int]) -> None:
    run, frames = Restorer(tiny_model, device="cpu", precision="fp32").start(12, 16), list(make_frames(2, 12, 16))
    whole = [frame.image for frame in run.restore(frames)]
    expected = [resize_image(image, *size) for image in whole]
    for found, image in zip(run.restore(frames, size=size), expected, strict=True):
        assert found.image.shape == (*size, 3)
        np.testing.assert_allclose(found.image, image, atol=1e-5)
    plane_format = PlaneFormat(Colour(1, False), 8, 1, 1)
    for planar, image in zip(run.restore_planar(frames, plane_format, size=size), expected, strict=True):
        planes = rgb_to_planes(image, colour=plane_format.colour, bits=8, horizontal_shift=1, vertical_shift=1)
        for plane, right in zip(planar.planes, planes, strict=True):
            assert np.abs(plane.astype(int) - right).max() <= 1


def test_a_device_without_the_interpolation_has_it_done_by_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    image, calls = torch.rand(3, 8, 12), iter([NotImplementedError("not on this device"), None])
    interpolate = F.interpolate

    def lacking(*given: object, **options: object) -> torch.Tensor:
        if error := next(calls):
            raise error
        return interpolate(*given, **options)

    expected = resized(image, (5, 7))
    monkeypatch.setattr(F, "interpolate", lacking)
    torch.testing.assert_close(resized(image, (5, 7)), expected)


class WithoutNumbers(Enlarging):
    """Gives no number for the third frame."""

    def windows(self, batch: Sequence[Sequence[torch.Tensor]]) -> list[torch.Tensor]:
        images = super().windows(batch)
        for states, image in zip(batch, images, strict=True):
            if torch.equal(states[1], self.third):
                image[1, 5, 7] = float("nan")
        return images

    third: torch.Tensor


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_window_without_numbers_is_computed_again_in_a_longer_precision(
    tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, at_once: int
) -> None:
    monkeypatch.setattr("fmanet_cli.engine.device.cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(run_module, "windows_at_once", lambda *_, **__: at_once)
    runner, frames = WithoutNumbers(), list(make_frames(6))
    runner.third = torch.from_numpy(frames[2].image).permute(2, 0, 1)
    run = restorer(tiny_model, runner, precision="auto").start(*frames[0].size)
    assert run.precision == "bf16"
    with caplog.at_level(logging.WARNING):
        restored = list(run.restore(frames))
    assert run.precision == "fp32"
    (warning,) = run.warnings
    assert warning == ("the network gives values that are no numbers for frame 2 in bf16 on cpu: going on in fp32")
    assert caplog.messages == [warning]
    exact = list(Restorer(tiny_model, device="cpu", precision="fp32").restore(frames))
    np.testing.assert_allclose(restored[2].image, exact[2].image, atol=1e-5)
    np.testing.assert_allclose(restored[5].image, exact[5].image, atol=1e-5)
    np.testing.assert_allclose(restored[0].image[::4, ::4], frames[0].image, atol=1e-6)


@pytest.mark.parametrize(
    ("precision", "error", "remedy"),
    [("bf16", DeviceError, "use precision fp32"), ("fp32", WeightsError, "its weights overflow; use other weights")],
)
def test_a_frame_without_numbers_is_never_given_away(
    tiny_model: FMANet, precision: str, error: type[Exception], remedy: str
) -> None:
    runner, frames = WithoutNumbers(), list(make_frames(4))
    runner.third = torch.from_numpy(frames[2].image).permute(2, 0, 1)
    restored, found = restorer(tiny_model, runner, precision=precision).restore(frames), []
    with pytest.raises(error, match=rf"for frame 2 in {precision} on cpu.*{remedy}"):
        found.extend(frame.pts for frame in restored)
    assert found == [frame.pts for frame in frames[:2]]


@pytest.mark.parametrize("factor", [1e6, 1e30, 3e38])
def test_weights_that_overflow_are_an_error(tiny_model: FMANet, factor: float) -> None:
    with torch.no_grad():
        for parameter in tiny_model.parameters():
            parameter.mul_(factor).clamp_(-3e38, 3e38)
    with pytest.raises(WeightsError, match="its weights overflow"):
        list(Restorer(tiny_model, device="cpu", precision="fp32").restore(make_frames(3)))


def test_a_restorer_does_not_change_when_it_is_asked_wrongly(tiny_model: FMANet) -> None:
    with pytest.raises(OptionError, match="tile must be auto"):
        restorer(tiny_model, None, tile="large")


def doubled(frames: Sequence[Frame], times: Sequence[int]) -> list[Frame]:
    """Each frame so many times, as copies, with timestamps of their own."""
    repeated = [frame for frame, count in zip(frames, times, strict=True) for _ in range(count)]
    return [replace(frame, image=frame.image.copy(), pts=10 * number) for number, frame in enumerate(repeated)]


def without_repeats(restorer: Restorer, frames: Sequence[Frame], monkeypatch: pytest.MonkeyPatch) -> list[Frame]:
    with monkeypatch.context() as patched:
        patched.setattr(run_module, "shows_the_same", lambda *_: False)
        return list(restorer.restore(frames))


@pytest.mark.parametrize(("at_once", "in_a_pass"), [(1, 1), (1, 3), (2, 1)])
def test_equal_windows_are_computed_once(
    tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch, at_once: int, in_a_pass: int
) -> None:
    monkeypatch.setattr(run_module, "windows_in_a_pass", lambda *_, **__: in_a_pass)
    monkeypatch.setattr(run_module, "windows_at_once", lambda *_, **__: at_once)
    frames = doubled(list(make_frames(4, 12, 16)), [5, 1, 2, 4])
    frames[8] = replace(frames[8], starts_shot=True)
    runner = Enlarging()
    engine = restorer(tiny_model, runner)
    found = list(engine.restore(frames))
    assert [frame.pts for frame in found] == [frame.pts for frame in frames]
    # AAA (four times) AAB ABC BCC CCC | DDD (four times): a window that equals the one before is not computed.
    assert sum(size[0] for size in runner.sizes) == 6
    every = without_repeats(engine, frames, monkeypatch)
    assert sum(size[0] for size in runner.sizes) == 6 + 12
    for one, other in zip(found, every, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def test_a_repeated_frame_is_exactly_what_the_network_gives(
    tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = doubled(list(make_frames(2, 8, 8)), [3, 2])
    engine = Restorer(tiny_model, device="cpu", precision="fp32")
    for one, other in zip(engine.restore(frames), without_repeats(engine, frames, monkeypatch), strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def test_what_is_computed_of_a_frame_alone_is_shared_by_those_that_show_the_same(tiny_model: FMANet) -> None:
    states = []

    class Counting(Enlarging):
        def frame_state(self, frame: torch.Tensor) -> torch.Tensor:
            states.append(1)
            return super().frame_state(frame)

    frames = doubled(list(make_frames(3, 12, 16)), [2, 2, 2])
    assert len(list(restorer(tiny_model, Counting()).restore(frames))) == 6
    assert len(states) == 3


def test_a_frame_after_skipped_ones_is_computed(tiny_model: FMANet) -> None:
    runner = Enlarging()
    frames = doubled(list(make_frames(1, 12, 16)), [6])
    found = restorer(tiny_model, runner).restore(frames, skips=lambda number: number not in (3, 4))
    assert [frame.pts for frame in found] == [30, 40]
    assert sum(size[0] for size in runner.sizes) == 1


def test_frames_that_differ_in_one_value_are_no_repeats() -> None:
    image = np.zeros((70, 9, 3), np.float32)
    for row in (0, 31, 69):
        other = image.copy()
        other[row, 8, 2] = 1e-7
        assert not shows_the_same(other, image)
    assert shows_the_same(image.copy(), image)
