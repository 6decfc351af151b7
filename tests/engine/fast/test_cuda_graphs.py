"""Graphs: recorded once for a size, replayed on fixed memory, released when memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from fmanet_cli.engine.fast.cuda_graphs import CudaRecording, GraphedRunner, _recording_error
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.errors import DeviceError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.weights.checkpoint import load_model

CPU = torch.device("cpu")


class FakeRecording:
    """Computes again on the inputs and outputs of its recording, as a CUDA graph does."""

    made: list[FakeRecording]

    def __init__(self, compute: Callable[[], Any], pool: Any) -> None:
        self._compute, self.pool = compute, pool
        self.outputs, self.replays, self.is_released = compute(), 0, False
        self.made.append(self)

    def replay(self) -> None:
        assert not self.is_released
        self.replays += 1
        for target, source in zip(leaves(self.outputs), leaves(self._compute()), strict=True):
            target.copy_(source)

    def release(self) -> None:
        self.is_released = True


def leaves(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in leaves(part)]
    return leaves([value.frame, value.initial, value.refined])


@pytest.fixture(autouse=True)
def recordings() -> list[FakeRecording]:
    FakeRecording.made = []
    return FakeRecording.made


def graphed(model: FMANet) -> GraphedRunner:
    runner = StreamingRunner(model, device=CPU, precision="fp32")
    return GraphedRunner(runner, device=CPU, record=FakeRecording, new_pool=object)


def pictures(count: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(height))


def windows(runner: Any, frames: torch.Tensor) -> list[torch.Tensor]:
    """Every window of three frames, each state computed once and kept."""
    states = [runner.frame_state(frame) for frame in frames]
    return [runner.window(states[first : first + 3]) for first in range(len(states) - 2)]


def test_states_and_pictures_outlive_the_next_replay(tiny_model: FMANet, recordings: list[FakeRecording]) -> None:
    frames = pictures(5, 12, 16)
    expected = windows(StreamingRunner(tiny_model, device=CPU, precision="fp32"), frames)
    found = windows(graphed(tiny_model), frames)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert [recording.replays for recording in recordings] == [5, 3]
    assert recordings[0].pool is recordings[1].pool


def test_the_size_that_was_not_used_for_longest_is_released(
    tiny_model: FMANet, recordings: list[FakeRecording]
) -> None:
    runner = graphed(tiny_model)
    for height in (8, 12, 8, 16, 8):
        runner.frame_state(pictures(1, height, 16)[0])
    assert [recording.is_released for recording in recordings] == [False, True, False]
    assert len({id(recording.pool) for recording in recordings}) == 3
    runner.release()
    assert all(recording.is_released for recording in recordings)


def test_out_of_memory_releases_everything(tiny_model: FMANet, recordings: list[FakeRecording]) -> None:
    class TooLarge:
        def frame_state(self, frame: torch.Tensor) -> torch.Tensor:
            return frame * 2

        def window(self, states: Sequence[torch.Tensor]) -> torch.Tensor:
            del states
            raise torch.OutOfMemoryError("CUDA out of memory")

    runner = GraphedRunner(TooLarge(), device=CPU, record=FakeRecording, new_pool=object)
    state = runner.frame_state(torch.ones(3, 8, 8))
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        runner.window([state] * 3)
    assert [recording.is_released for recording in recordings] == [True]
    assert runner.frame_state(torch.ones(3, 8, 8)).sum() == 384


def test_a_failed_end_of_a_recording_does_not_hide_why() -> None:
    missing = torch.OutOfMemoryError("CUDA out of memory")
    end = RuntimeError("operation failed due to a previous error during capture")
    end.__context__ = missing
    assert _recording_error(end) is missing
    other = _recording_error(RuntimeError("operation not permitted when stream is capturing"))
    assert isinstance(other, DeviceError)
    assert "leave --compile out" in str(other)


gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
CUDA = torch.device("cuda", 0)


def on_gpu(test: Any) -> Any:
    for mark in gpu:
        test = mark(test)
    return test


@on_gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_two_sizes_on_a_gpu_equal_the_plain_runner(precision: Any) -> None:
    model = load_model("lite")
    plain = StreamingRunner(model, device=CUDA, precision=precision)
    runner = GraphedRunner(StreamingRunner(model, device=CUDA, precision=precision), device=CUDA)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for height, width in ((45, 63), (90, 160), (45, 63)):
            frames = pictures(5, height, width).to(CUDA)
            found, expected = windows(runner, frames), windows(plain, frames)
            tolerance = 1e-4 if precision == "fp32" else 2e-2
            torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@on_gpu
def test_a_gpu_gets_its_memory_back() -> None:
    runner = GraphedRunner(StreamingRunner(load_model("lite"), device=CUDA, precision="fp16"), device=CUDA)
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved(0)
    windows(runner, pictures(3, 180, 320).to(CUDA))
    assert torch.cuda.memory_reserved(0) > before
    runner.release()
    gc.collect()
    torch.cuda.empty_cache()
    # cuBLAS keeps a workspace for each stream it was used on.
    assert torch.cuda.memory_reserved(0) - before < 128e6


@on_gpu
def test_out_of_memory_while_recording_is_said_as_such() -> None:
    held: list[torch.Tensor] = []

    def compute() -> torch.Tensor:
        result = torch.ones(1 << 20, device=CUDA)
        if torch.cuda.is_current_stream_capturing():
            held.append(torch.empty(1 << 44, dtype=torch.uint8, device=CUDA))
        return result

    with pytest.raises(torch.OutOfMemoryError):
        CudaRecording(compute, torch.cuda.graph_pool_handle())
    assert float((torch.ones(4, device=CUDA) * 2).sum()) == 8
