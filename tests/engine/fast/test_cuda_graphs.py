"""Graphs: recorded once for a size, replayed on fixed memory, released when memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fmanet_cli.engine.fast import cuda_graphs
from fmanet_cli.engine.fast.cuda_graphs import CudaRecording, GraphedRunner
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import DeviceError, OptionError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.weights.checkpoint import load_model
from support.moving_frames import make_frames

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


def images(count: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(height))


def windows(runner: Any, frames: torch.Tensor) -> list[torch.Tensor]:
    """Every window of three frames, each state computed once and kept."""
    states = [runner.frame_state(frame) for frame in frames]
    return [runner.window(states[first : first + 3]) for first in range(len(states) - 2)]


def test_states_and_frames_outlive_the_next_replay(tiny_model: FMANet, recordings: list[FakeRecording]) -> None:
    frames = images(5, 12, 16)
    expected = windows(StreamingRunner(tiny_model, device=CPU, precision="fp32"), frames)
    found = windows(graphed(tiny_model), frames)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert [recording.replays for recording in recordings] == [1 + 5, 1 + 3]
    assert recordings[0].pool is recordings[1].pool


def test_the_size_that_was_not_used_for_longest_is_released(
    tiny_model: FMANet, recordings: list[FakeRecording]
) -> None:
    runner = graphed(tiny_model)
    for height in (8, 12, 8, 16, 8):
        runner.frame_state(images(1, height, 16)[0])
    assert [recording.is_released for recording in recordings] == [False, True, False]
    assert len({id(recording.pool) for recording in recordings}) == 3
    runner.release()
    assert all(recording.is_released for recording in recordings)


@pytest.mark.parametrize(
    ("error", "when"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "record"),
        (RuntimeError("operation not permitted when stream is capturing\nadvice"), "record"),
        (RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED"), "record"),
        (torch.OutOfMemoryError("CUDA out of memory"), "replay"),
    ],
)
def test_whatever_fails_the_frames_are_those_of_the_plain_runner(
    tiny_model: FMANet, recordings: list[FakeRecording], monkeypatch: pytest.MonkeyPatch, error: Exception, when: str
) -> None:
    failures: list[str] = []

    def failing(*_: object) -> None:
        failures.append(when)
        raise error

    runner = graphed(tiny_model)
    frames = images(5, 12, 16)
    if when == "record":
        runner._record = failing  # type: ignore[assignment]
    else:
        windows(runner, frames)
        monkeypatch.setattr(FakeRecording, "replay", failing)
    expected = windows(StreamingRunner(tiny_model, device=CPU, precision="fp32"), frames)
    torch.testing.assert_close(windows(runner, frames), expected, atol=1e-6, rtol=0)
    # Not once more: it would cost time again and again, and could spoil the process.
    assert failures == [when]
    assert runner.problem == f"CUDA graphs are not used ({str(error).splitlines()[0]}): it goes on without, slower"
    assert all(recording.is_released for recording in recordings)


def test_a_recording_that_computes_something_else_is_not_used(
    random_tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, frames = graphed(random_tiny_model), images(4, 12, 16)
    monkeypatch.setattr(FakeRecording, "replay", lambda self: leaves(self.outputs)[-1].add_(0.1))
    expected = windows(StreamingRunner(random_tiny_model, device=CPU, precision="fp32"), frames)
    torch.testing.assert_close(windows(runner, frames), expected, atol=1e-6, rtol=0)
    assert "a recording gives other values than the network" in (runner.problem or "")


def test_frames_without_room_for_recordings_are_computed_without(
    tiny_model: FMANet, recordings: list[FakeRecording]
) -> None:
    plain = StreamingRunner(tiny_model, device=CPU, precision="fp32")
    runner = GraphedRunner(
        plain, device=CPU, has_room=lambda pixels: pixels <= 12 * 16, record=FakeRecording, new_pool=object
    )
    windows(runner, images(3, 20, 16))
    assert (recordings, runner.problem) == ([], None)
    windows(runner, images(3, 12, 16))
    assert len(recordings) == 2


def test_auto_records_where_starting_kernels_takes_longer_than_running_them(
    tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = torch.device("cuda", 0)
    monkeypatch.setattr(cuda_graphs, "_torch_version", lambda: (2, 12))
    monkeypatch.setattr(cuda_graphs, "fits", lambda *_, **__: True)
    monkeypatch.setattr(FMANet, "count_parameters", lambda *_: 9_766_503)
    plain = StreamingRunner(tiny_model, device=CPU, precision="fp32")

    def recorded(mode: str, *sizes: tuple[int, int], device: torch.device = cuda) -> list[bool]:
        runner = cuda_graphs.graphed(plain, mode, model=tiny_model, device=device, precision="fp16")
        return [isinstance(runner, GraphedRunner) and runner.records(*size) for size in sizes]

    assert recorded("auto", (90, 160), (180, 320), (360, 640)) == [False, True, False]
    assert recorded("on", (90, 160), (180, 320), (360, 640)) == [True, True, True]
    assert recorded("off", (180, 320)) == [False]
    assert recorded("auto", (180, 320), device=CPU) == [False]
    monkeypatch.setattr(cuda_graphs, "_torch_version", lambda: (2, 11))
    assert recorded("auto", (180, 320)) == [False]
    with pytest.raises(DeviceError, match=r"CUDA graphs need torch 2\.12 or newer"):
        recorded("on", (180, 320))
    with pytest.raises(OptionError, match="compile must be auto, on or off, got 'maybe'"):
        recorded("maybe", (180, 320))


def test_a_run_says_that_graphs_are_not_used_and_cuts_no_tiles(tiny_model: FMANet) -> None:
    def failing(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    runner = graphed(tiny_model)
    runner._record = failing  # type: ignore[assignment]
    run = Restorer(tiny_model, device="cpu", precision="fp32", runner=runner).start(12, 16)
    assert len(list(run.restore(make_frames(3, 12, 16)))) == 3
    assert (run.tiling.size, len(run.warnings)) == (0, 1)
    assert run.warnings[0].startswith("CUDA graphs are not used (CUDA out of memory)")


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
            frames = images(5, height, width).to(CUDA)
            found, expected = windows(runner, frames), windows(plain, frames)
            tolerance = 1e-4 if precision == "fp32" else 2e-2
            torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@on_gpu
def test_a_gpu_gets_its_memory_back() -> None:
    runner = GraphedRunner(StreamingRunner(load_model("lite"), device=CUDA, precision="fp16"), device=CUDA)
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved(0)
    windows(runner, images(3, 180, 320).to(CUDA))
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

    with pytest.raises(RuntimeError):
        CudaRecording(compute, torch.cuda.graph_pool_handle())
    assert float((torch.ones(4, device=CUDA) * 2).sum()) == 8
