"""CUDA graphs: the hundreds of kernels of a window recorded once for a picture size and started as one."""

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

from fmanet_cli.engine.device import free_device_memory
from fmanet_cli.engine.device_errors import is_out_of_memory
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.engine.runner import WindowRunner
from fmanet_cli.errors import DeviceError, OptionError

log = logging.getLogger(__name__)

KEPT_SIZES = 2
"""Each picture size keeps a window's whole working memory and a copy of its T states."""

WARM_UPS = 3
"""Runs before a recording, in which kernels are compiled and chosen."""


def graphed(runner: WindowRunner, *, device: torch.device) -> GraphedRunner:
    """What `--compile` stands for.

    Raises:
        DeviceError: not a CUDA device.
        OptionError: not the streaming engine.
    """
    if not isinstance(runner, StreamingRunner):
        raise OptionError("--compile is for the streaming engine only")
    check_recordable(device)
    return GraphedRunner(runner, device=device)


def check_recordable(device: torch.device) -> None:
    """Raises DeviceError for a device without graphs."""
    if device.type != "cuda":
        raise DeviceError(f"--compile records CUDA graphs and needs a CUDA device, not {device}; leave --compile out")


class Recording(Protocol):
    """A computation recorded on fixed memory."""

    outputs: Any
    """What the last replay computed, overwritten by the next one."""

    def replay(self) -> None:
        """Computes again, from what its inputs hold now."""

    def release(self) -> None:
        """Gives its memory back."""


Record = Callable[[Callable[[], Any], Any], Recording]
"""Records a computation in a memory pool."""


class CudaRecording:
    """A `Recording` by a CUDA graph.

    Raises:
        torch.OutOfMemoryError: memory does not suffice; nothing of it is kept.
        DeviceError: the computation cannot be recorded.
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
        except RuntimeError as error:
            self.release()
            raise _recording_error(error) from None

    def replay(self) -> None:
        """Starts the graph on the current stream."""
        self._graph.replay()

    def release(self) -> None:
        """The pool's memory is free when its last graph is released."""
        self.outputs = None
        self._graph.reset()


@functools.cache
def _recording_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all recordings on a device: a memory pool shares, and cuBLAS has a workspace, within a stream only."""
    return torch.cuda.Stream(device)


def _recording_error(error: BaseException) -> BaseException:
    """Out of memory where that lies behind a failed recording: its end fails too then, and would hide it."""
    cause: BaseException | None = error
    while cause is not None:
        if is_out_of_memory(cause):
            return cause
        cause = cause.__context__
    return DeviceError(f"--compile failed: no CUDA graph can be recorded here ({error}); leave --compile out")


class GraphedRunner:
    """A runner that is recorded for each picture size and replayed from then on.

    Args:
        runner: what is recorded.
        device: where.
        record: makes a recording; a CUDA graph unless a test says otherwise.
        new_pool: makes the memory pool that the two recordings of a size share.
    """

    def __init__(
        self,
        runner: WindowRunner,
        *,
        device: torch.device,
        record: Record = CudaRecording,
        new_pool: Callable[[], Any] = torch.cuda.graph_pool_handle,
    ) -> None:
        self._runner, self._device = runner, device
        self._record, self._new_pool = record, new_pool
        self._sizes: OrderedDict[tuple[int, int], _SizeGraphs] = OrderedDict()
        self._lock = threading.Lock()

    def frame_state(self, frame: Tensor) -> Any:
        """See `WindowRunner`; the state is the caller's to keep."""
        return self._run(frame, lambda graphs: graphs.frame_state(frame))

    def window(self, states: Sequence[Any]) -> Tensor:
        """See `WindowRunner`; the picture is the caller's to keep."""
        return self._run(states, lambda graphs: graphs.window(list(states)))

    def release(self) -> None:
        """Gives back what all recordings hold."""
        while self._sizes:
            self._sizes.popitem()[1].release()
        free_device_memory(self._device)

    @torch.inference_mode()
    def _run(self, inputs: Any, compute: Callable[[_SizeGraphs], Any]) -> Any:
        first = _tensors(inputs)[0]
        height, width = first.shape[-2:]
        # Streams are recorded and replayed on the current device, which need not be the runner's.
        with self._lock, torch.cuda.device_of(first):
            try:
                return compute(self._graphs(height, width))
            except (RuntimeError, MemoryError) as error:
                # The window is computed again in tiles, which need this memory.
                if is_out_of_memory(error):
                    self.release()
                raise

    def _graphs(self, height: int, width: int) -> _SizeGraphs:
        """Of this size, made the one used last."""
        size = (height, width)
        if size not in self._sizes:
            while len(self._sizes) >= KEPT_SIZES:
                self._sizes.popitem(last=False)[1].release()
                free_device_memory(self._device)
            log.info(f"recording CUDA graphs for {width}x{height}")
            self._sizes[size] = _SizeGraphs(self._runner, self._record, self._new_pool())
        self._sizes.move_to_end(size)
        return self._sizes[size]


class _SizeGraphs:
    """The two recordings of one picture size, each with the inputs that it reads."""

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
        fixed, recording = self._recorded[name]
        for target, source in zip(_tensors(fixed), _tensors(inputs), strict=True):
            target.copy_(source)
        recording.replay()
        return _cloned(recording.outputs)

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
