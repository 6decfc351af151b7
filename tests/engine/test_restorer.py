"""Every frame in gives one restored frame out, whatever the size, the tiles and the memory."""

from __future__ import annotations

import logging
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from fmanet_cli.engine.device import choose_device, choose_precision
from fmanet_cli.engine.memory import free_memory
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.tiling import Tiling
from fmanet_cli.errors import DeviceError, OptionError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.weights.checkpoint import load_model
from support.moving_frames import make_frames


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_frames_timestamps_and_sizes_are_kept(tiny_model: FMANet, count: int) -> None:
    frames = list(make_frames(count, 17, 23))
    restored = list(Restorer(tiny_model, device="cpu", precision="fp32").restore(iter(frames)))
    assert [(frame.pts, frame.time_base, frame.duration) for frame in restored] == [
        (frame.pts, frame.time_base, frame.duration) for frame in frames
    ]
    for frame in restored:
        assert frame.image.shape == (68, 92, 3)
        assert frame.image.dtype == np.float32
        assert frame.image.min() >= 0
        assert frame.image.max() <= 1


def test_each_window_is_the_plain_network_on_its_frames(random_tiny_model: FMANet) -> None:
    frames = list(make_frames(4))
    restored = list(Restorer(random_tiny_model, device="cpu", precision="fp32").restore(iter(frames)))
    order = [(1, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 2)]
    for frame, indices in zip(restored, order, strict=True):
        window = np.stack([frames[index].image.transpose(2, 0, 1) for index in indices], axis=1)
        with torch.no_grad():
            expected = random_tiny_model(torch.from_numpy(window)[None])[0].clamp(0, 1).permute(1, 2, 0).numpy()
        np.testing.assert_allclose(frame.image, expected, atol=1e-5)


@pytest.mark.parametrize("first", [1, 4, 6, 7])
def test_going_on_in_the_middle_gives_the_same_frames(tiny_model: FMANet, first: int) -> None:
    frames = list(make_frames(7))
    frames[5] = replace(frames[5], starts_shot=True)
    restorer = Restorer(tiny_model, device="cpu", precision="fp32")
    expected = list(restorer.restore(frames))[first:]
    found = list(restorer.restore(frames, skips=lambda number: number < first))
    assert [frame.pts for frame in found] == [frame.pts for frame in frames[first:]]
    for frame, truth in zip(found, expected, strict=True):
        np.testing.assert_array_equal(frame.image, truth.image)


def test_networks_trained_in_bgr_see_bgr(random_tiny_model: FMANet) -> None:
    (frame,) = make_frames(1)
    window = torch.from_numpy(frame.image[..., ::-1].transpose(2, 0, 1).copy())[:, None].expand(-1, 3, -1, -1)[None]
    with torch.no_grad():
        expected = random_tiny_model(window)[0].clamp(0, 1).permute(1, 2, 0).numpy()[..., ::-1]
    random_tiny_model.colour_order = "bgr"
    (restored,) = Restorer(random_tiny_model, device="cpu", precision="fp32").restore([frame])
    np.testing.assert_allclose(restored.image, expected, atol=1e-5)


def test_tiles_are_close_to_the_whole_with_trained_weights() -> None:
    frames = list(make_frames(2, 48, 80))
    model = load_model("lite")
    whole, tiled = (
        list(Restorer(model, device="cpu", precision="fp32", tile=tile, tile_overlap=12).restore(frames))
        for tile in (0, 40)
    )
    noise = np.mean([np.square(a.image - b.image).mean() for a, b in zip(whole, tiled, strict=True)])
    assert noise > 0
    assert -10 * np.log10(noise) > 40


def test_a_tile_as_large_as_the_frame_is_the_whole_frame(tiny_model: FMANet) -> None:
    frames = list(make_frames(2))
    whole, tiled = (
        [frame.image for frame in Restorer(tiny_model, device="cpu", precision="fp32", tile=tile).restore(frames)]
        for tile in (0, 64)
    )
    np.testing.assert_array_equal(whole, tiled)
    large = Restorer(tiny_model, device="cpu", precision="fp32", tile=99_999_999)
    assert str(large.start(24, 32).tiling) == "whole frames"


def test_out_of_memory_repeats_the_window_in_smaller_tiles(
    tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    restorer = Restorer(tiny_model, device="cpu", precision="fp32", tile=0, tile_overlap=8)
    windows = restorer.runner.window

    def window(states):
        if max(states[0].frame.shape[-2:]) > 50:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return windows(states)

    monkeypatch.setattr(restorer.runner, "window", window)
    frames, run = list(make_frames(5, 40, 90)), restorer.start(40, 90)
    with caplog.at_level(logging.WARNING):
        restored = list(run.restore(iter(frames)))
    assert [frame.pts for frame in restored] == [frame.pts for frame in frames]
    assert run.tiling == Tiling("whole", 45, 8)
    assert run.warnings == ("out of memory on cpu at 90 pixels: going on with tiles of 45 pixels",)
    assert restorer.start(40, 90).tiling == Tiling("whole", 0, 8)
    assert restorer.start(40, 90).warnings == ()
    expected = list(Restorer(tiny_model, device="cpu", precision="fp32", tile=45, tile_overlap=8).restore(frames))
    np.testing.assert_array_equal([frame.image for frame in restored], [frame.image for frame in expected])


def test_no_memory_for_the_smallest_tile_is_an_error(tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = Restorer(tiny_model, device="cpu", precision="fp32")

    def window(states):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(restorer.runner, "window", window)
    with pytest.raises(DeviceError, match=r"not enough memory on cpu even for tiles of 32 pixels \(\[enforce fail\]"):
        list(restorer.restore(make_frames(2, 40, 90)))


def test_no_state_outlives_its_windows(tiny_model: FMANet) -> None:
    class State:
        def __init__(self, frame: torch.Tensor) -> None:
            self.frame = frame

    class CountingRunner:
        def frame_state(self, frame: torch.Tensor) -> State:
            state = State(frame)
            alive.add(state)
            return state

        def window(self, states: list[State]) -> torch.Tensor:
            counts.append((len(alive), len(images)))
            image = torch.zeros(3, *(4 * side for side in states[0].frame.shape[1:]))
            images.add(image)
            return image

    alive: weakref.WeakSet[State] = weakref.WeakSet()
    images: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    counts: list[tuple[int, int]] = []
    restorer = Restorer(tiny_model, device="cpu", precision="fp32", tile=0, runner=CountingRunner())
    assert len(list(restorer.restore(make_frames(5)))) == 5
    assert counts == [(2, 0), (3, 0), (3, 0), (3, 0), (3, 0)]


def test_memory_that_torch_keeps_unused_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 5000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 1500)
    assert free_memory(torch.device("cuda", 0)) == 5500


def test_other_errors_are_not_taken_for_memory(tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = Restorer(tiny_model, device="cpu", precision="fp32")

    def window(states):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(restorer.runner, "window", window)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        list(restorer.restore(make_frames(1)))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"tile": 16}, "tile must be 0 .* at least 32 pixels, got 16"),
        ({"tile": "large"}, "tile must be auto, 0 or a number of pixels, got 'large'"),
        ({"tile": 64, "tile_overlap": 40}, r"at most half the tile \(32\), got 40"),
        ({"tile_overlap": -1}, "at least 0, got -1"),
        ({"engine": "magic"}, "engine must be streaming or reference, got 'magic'"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"precision": "int8"}, "unknown precision 'int8'"),
    ],
)
def test_impossible_options_are_refused(tiny_model: FMANet, options: dict[str, object], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        Restorer(tiny_model, **{"device": "cpu", **options})


@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA")
def test_a_missing_device_is_an_error_not_a_fallback() -> None:
    with pytest.raises(DeviceError, match="device cuda:1 was asked for, but no CUDA device is available"):
        choose_device("cuda:1")


def test_half_precision_on_a_cpu_is_refused() -> None:
    with pytest.raises(DeviceError, match="fp16 needs a GPU"):
        choose_precision("fp16", torch.device("cpu"))


def test_graphs_need_a_cuda_device_and_the_streaming_engine(tiny_model: FMANet) -> None:
    with pytest.raises(DeviceError, match="need a CUDA device, not cpu; leave compile at auto or off"):
        Restorer(tiny_model, device="cpu", compiled="on")
    with pytest.raises(OptionError, match="streaming engine only"):
        Restorer(tiny_model, device="cpu", compiled="on", engine="reference")
