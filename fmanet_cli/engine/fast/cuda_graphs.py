"""CUDA graphs: the hundreds of kernels of a window recorded once for a frame size and started as one."""

from __future__ import annotations

import functools
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from fmanet_cli.engine.device import Precision, free_device_memory
from fmanet_cli.engine.device_errors import in_one_line
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.engine.memory import WORK_IN_A_PASS, fits
from fmanet_cli.engine.runner import WindowRunner
from fmanet_cli.errors import DeviceError, OptionError
from fmanet_cli.model.fmanet import FMANet

log = logging.getLogger(__name__)

KEPT_SIZES = 2
"""Each frame size keeps a window's whole working memory and a copy of its T states."""

WARM_UPS = 3
"""Runs before a recording, in which kernels are compiled and chosen."""


MEMORY_FACTOR = 2.2
"""What recordings of a size take, over what the same size takes without: states, their copies and outputs stay."""

LAUNCH_BOUND_WORK = 8.4e11
"""Pixels times parameters below which starting a window's kernels takes longer than running them on a fast GPU: the
paper's network at 390x220."""

_OLDEST_TORCH = (2, 12)
"""Before it, a recording that fails can spoil every later one of the process and keep its memory."""

_LARGEST_DIFFERENCE = 0.02
"""Between a replay and what was recorded; 16-bit sums come in another order each time."""


def graphed(
    runner: WindowRunner, mode: str, *, model: FMANet, device: torch.device, precision: Precision
) -> WindowRunner:
    """A runner with CUDA graphs where they are asked for or, by `auto`, where starting kernels is what takes time.

    Args:
        runner: as it computes without them.
        mode: `auto`, `on` or `off`.
        model: whose size decides.
        device: where it runs.
        precision: in which it runs.

    Raises:
        DeviceError: `on` for a device or a torch without graphs.
        OptionError: `on` for another than the streaming engine, or an unknown mode.
    """
    if mode not in ("auto", "on", "off"):
        raise OptionError(f"compile must be auto, on or off, got {mode!r}")
    if mode == "on":
        if not isinstance(runner, StreamingRunner):
            raise OptionError("CUDA graphs are for the streaming engine only")
        check_recordable(device)
    can_record = device.type == "cuda" and _torch_version() >= _OLDEST_TORCH
    if mode == "off" or not can_record or not isinstance(runner, StreamingRunner):
        return runner
    parameters = model.count_parameters()

    def is_worth(pixels: int) -> bool:
        work = pixels * parameters
        # Less work shares passes, which have few launches a window as it is.
        return mode == "on" or WORK_IN_A_PASS / 2 < work <= LAUNCH_BOUND_WORK

    def has_room(pixels: int) -> bool:
        return fits(pixels, windows=1, config=model.config, device=device, precision=precision, factor=MEMORY_FACTOR)

    return GraphedRunner(runner, device=device, is_worth=is_worth, has_room=has_room)


def check_recordable(device: torch.device) -> None:
    """Raise DeviceError for a device or a torch without graphs."""
    if device.type != "cuda":
        raise DeviceError(f"CUDA graphs need a CUDA device, not {device}; leave compile at auto or off")
    if _torch_version() < _OLDEST_TORCH:
        needed = ".".join(map(str, _OLDEST_TORCH))
        raise DeviceError(f"CUDA graphs need torch {needed} or newer, not {torch.__version__}; leave compile at auto")


def _torch_version() -> tuple[int, ...]:
    return tuple(int(part) for part in torch.__version__.split(".")[:2])


class Recording(Protocol):
    """A computation recorded on fixed memory."""

    outputs: Any
    """What the last replay computed, overwritten by the next one."""

    def replay(self) -> None:
        """Compute again, from what its inputs hold now."""

    def release(self) -> None:
        """Give its memory back."""


Record = Callable[[Callable[[], Any], Any], Recording]
"""Records a computation in a memory pool."""


class CudaRecording:
    """A `Recording` by a CUDA graph.

    Raises:
        RuntimeError: the computation cannot be recorded, or memory does not suffice; nothing of it is kept.
    """

    def __init__(self, compute: Callable[[], Any], pool: Any) -> None:
        current = torch.cuda.current_stream()
        side = _recording_stream(current.device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                compute()
        current.wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        try:
            # The outer context puts the stream back where the end of a failed recording does not. Other threads copy
            # frames meanwhile, which only `thread_local` allows.
            with (
                torch.cuda.stream(current),
                torch.cuda.graph(self._graph, pool=pool, stream=side, capture_error_mode="thread_local"),
            ):
                self.outputs = compute()
        except RuntimeError:
            self.release()
            raise

    def replay(self) -> None:
        """Start the graph on the current stream."""
        self._graph.replay()

    def release(self) -> None:
        """The pool's memory is free when its last graph is released."""
        self.outputs = None
        self._graph.reset()


@functools.cache
def _recording_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all recordings on a device: a memory pool shares, and cuBLAS has a workspace, within a stream only."""
    return torch.cuda.Stream(device)


class GraphedRunner:
    """A runner that is recorded for each frame size and replayed from then on.

    Whatever goes wrong with recordings, the runner itself goes on without them, in this process for good, and `problem`
    says why. Frames too large for both keep to the runner too.

    Args:
        runner: what is recorded.
        device: where.
        is_worth: whether frames of so many pixels gain by it.
        has_room: whether memory suffices for recordings of frames of so many pixels.
        record: makes a recording; a CUDA graph unless a test says otherwise.
        new_pool: makes the memory pool that the two recordings of a size share.
    """

    def __init__(
        self,
        runner: StreamingRunner,
        *,
        device: torch.device,
        is_worth: Callable[[int], bool] = lambda _: True,
        has_room: Callable[[int], bool] = lambda _: True,
        record: Record = CudaRecording,
        new_pool: Callable[[], Any] = torch.cuda.graph_pool_handle,
    ) -> None:
        self.eager = runner
        """The runner without recordings."""
        self.problem: str | None = None
        """Why recordings are not used, where they were meant to be."""
        self._device, self._is_worth, self._has_room = device, is_worth, has_room
        self._record, self._new_pool = record, new_pool
        self._sizes: OrderedDict[tuple[int, int], _SizeGraphs] = OrderedDict()
        self._declined: set[tuple[int, int]] = set()
        self._lock = threading.Lock()

    def frame_state(self, frame: Tensor) -> Any:
        """See `WindowRunner`; the state is the caller's to keep."""
        return self._run(frame, lambda graphs: graphs.frame_state(frame), lambda: self.eager.frame_state(frame))

    def window(self, states: Sequence[Any]) -> Tensor:
        """See `WindowRunner`; the frame is the caller's to keep."""
        return self._run(states, lambda graphs: graphs.window(list(states)), lambda: self.eager.window(states))

    def frame_states(self, frames: Sequence[Tensor]) -> list[Any]:
        """See `BatchRunner`: one by one where each is a recording, else in one pass."""
        if self.records(*frames[0].shape[-2:]):
            return [self.frame_state(frame) for frame in frames]
        return self.eager.frame_states(frames)

    def windows(self, batch: Sequence[Sequence[Any]]) -> list[Tensor]:
        """See `BatchRunner`: one by one where each is a recording, else in one pass."""
        if self.records(*_tensors(batch)[0].shape[-2:]):
            return [self.window(states) for states in batch]
        return self.eager.windows(batch)

    def records(self, height: int, width: int) -> bool:
        """Whether frames of this size are recorded, or will be."""
        if self.problem is not None or (height, width) in self._declined or not self._is_worth(height * width):
            return False
        if (height, width) in self._sizes or self._has_room(height * width):
            return True
        self._declined.add((height, width))
        log.info("no room for CUDA graphs of %dx%d beside the frames themselves", width, height)
        return False

    def release(self) -> None:
        """Give back what all recordings hold."""
        while self._sizes:
            self._sizes.popitem()[1].release()
        free_device_memory(self._device)

    def _run(self, inputs: Any, replayed: Callable[[_SizeGraphs], Any], eager: Callable[[], Any]) -> Any:
        first = _tensors(inputs)[0]
        # Streams are recorded and replayed on the current device, which need not be the runner's.
        with self._lock, torch.cuda.device_of(first):
            height, width = first.shape[-2:]
            if self.records(height, width):
                try:
                    with torch.inference_mode():
                        return replayed(self._graphs(height, width))
                except Exception as error:  # What cannot be recorded can still be computed.
                    self.problem = f"CUDA graphs are not used ({in_one_line(error)}): it goes on without, slower"
                    log.warning(self.problem)
                self.release()
        return eager()

    def _graphs(self, height: int, width: int) -> _SizeGraphs:
        """Of this size, made the one used last."""
        size = (height, width)
        if size not in self._sizes:
            while len(self._sizes) >= KEPT_SIZES:
                self._sizes.popitem(last=False)[1].release()
                free_device_memory(self._device)
            log.info(f"recording CUDA graphs for {width}x{height}")
            self._sizes[size] = _SizeGraphs(self.eager, self._record, self._new_pool())
        self._sizes.move_to_end(size)
        return self._sizes[size]


class _SizeGraphs:
    """The two recordings of one frame size, each with the inputs that it reads."""

    def __init__(self, runner: WindowRunner, record: Record, pool: Any) -> None:
        self._runner, self._record, self._pool = runner, record, pool
        self._recorded: dict[str, tuple[Any, Recording]] = {}

    def frame_state(self, frame: Tensor) -> Any:
        return self._replayed("frame", frame, self._runner.frame_state)

    def window(self, states: list[Any]) -> Tensor:
        return self._replayed("window", states, self._runner.window)

    def _replayed(self, name: str, inputs: Any, compute: Callable[[Any], Any]) -> Any:
        """A copy of what `compute` gives for the inputs: the next replay overwrites the original."""
        if name not in self._recorded:
            fixed = _cloned(inputs)
            self._recorded[name] = fixed, self._record(lambda: compute(fixed), self._pool)
            self._check(self._recorded[name][1], compute(fixed))
        fixed, recording = self._recorded[name]
        for target, source in zip(_tensors(fixed), _tensors(inputs), strict=True):
            target.copy_(source)
        recording.replay()
        return _cloned(recording.outputs)

    def _check(self, recording: Recording, expected: Any) -> None:
        """Raise RuntimeError where a replay does not give what the runner itself gives."""
        recording.replay()
        for found, truth in zip(_tensors(recording.outputs), _tensors(expected), strict=True):
            scale = float(truth.abs().max().clamp_min(1))
            if not float((found.float() - truth.float()).abs().max()) <= _LARGEST_DIFFERENCE * scale:
                raise RuntimeError("a recording gives other values than the network")

    def release(self) -> None:
        for _, recording in self._recorded.values():
            recording.release()
        self._recorded.clear()


def _tensors(value: Any) -> list[Tensor]:
    """Every tensor of nested lists, tuples and dataclasses, in order."""
    if isinstance(value, Tensor):
        return [value]
    parts = [getattr(value, field.name) for field in fields(value)] if is_dataclass(value) else value
    return [tensor for part in parts for tensor in _tensors(part)]


def _cloned(value: Any) -> Any:
    """The same nest with copies of its tensors."""
    if isinstance(value, Tensor):
        return value.clone()
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _cloned(getattr(value, field.name)) for field in fields(value)})
    return type(value)(_cloned(part) for part in value)
