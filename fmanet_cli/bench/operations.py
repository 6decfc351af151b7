"""What a GPU would do for a frame, counted without one: kernel launches, memory traffic and multiply-adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fmanet_cli.bench.multiply_adds import count_multiply_adds
from fmanet_cli.engine.device import Precision
from fmanet_cli.engine.fast import triton_kernels
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.engine.memory import CHANNEL_MULTIPLE, strip_bytes_of
from fmanet_cli.model.fmanet import FMANet

PASSES = (1, 8)
"""Numbers of windows in a pass that are counted."""

FREE_MEMORY = 24 << 30
"""Of the card that is counted for, in bytes."""

_WITHOUT_WORK = ("empty", "detach", "lift_fresh", "_local_scalar_dense")


@dataclass(frozen=True, slots=True)
class OperationCounts:
    """Of one frame in the steady state: a new frame's features, and its share of a pass of windows."""

    launches: float
    """Kernels started, each operation of torch taken for one."""
    traffic_bytes: float
    """Each operation's inputs read once and its outputs written once, whatever a cache may hold."""
    macs_per_pixel: float
    """Multiply-adds per low-resolution pixel in convolutions and matrix products."""


class OperationCounter(TorchDispatchMode):
    """Counts operations that do work inside its `with` block, those of Triton too."""

    def __init__(self) -> None:
        super().__init__()
        self.launches = self.traffic_bytes = self.fused_multiply_adds = 0
        # Operations made of others are entered again.
        self._depth = 0

    def __enter__(self) -> OperationCounter:
        triton_kernels.observer = self._see
        self._depth += 1
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._depth -= 1
        if self._depth == 0:
            triton_kernels.observer = None

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation and note it; operations made of others are taken apart first."""
        kwargs = dict(kwargs or {})
        with self:
            # In inference mode conv2d and matmul arrive whole.
            result = func.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name.startswith(_WITHOUT_WORK) or _is_view(func):
            return result
        if "convolution" in name:
            # As on every device; without values, torch forgets it.
            result = result.contiguous(memory_format=torch.channels_last)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        given = [leaf for leaf in tree_leaves((args, dict(kwargs))) if isinstance(leaf, Tensor)]
        # What is only written is no input.
        written = {"copy_": 1, "zero_": 1, "fill_": 1}.get(name, 0)
        self._see(given[written:] if "out" not in kwargs else given[:-1], outputs)
        return result

    def _see(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], multiply_adds: int = 0) -> None:
        self.launches += 1
        self.fused_multiply_adds += multiply_adds
        self.traffic_bytes += sum(map(_bytes, (*inputs, *outputs)))


def _is_view(func: Any) -> bool:
    """Whether an operation gives other strides of the same memory and writes nothing."""
    returns = [value.alias_info for value in func._schema.returns]
    return bool(returns) and all(alias is not None and not alias.is_write for alias in returns)


def _bytes(tensor: Tensor) -> int:
    """What lies in memory: along an axis without stride, values are repeated."""
    sizes = [size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride != 0]
    return torch.Size(sizes).numel() * tensor.element_size()


@torch.no_grad()
def count_operations(
    model: FMANet, height: int, width: int, *, precision: Precision = "fp16", windows: int = 1
) -> OperationCounts:
    """Count one frame as a CUDA device with Triton would compute it, without a device and without values.

    Args:
        model: the network; its values do not matter.
        height: of the input, in pixels.
        width: of the input, in pixels.
        precision: of the features.
        windows: computed in one pass.
    """
    meta = torch.device("meta")
    with meta:
        shapes = FMANet(model.config)
    runner = StreamingRunner(
        shapes,
        device=meta,
        precision=precision,
        strip_bytes=strip_bytes_of(FREE_MEMORY),
        channel_multiple=1 if precision == "fp32" else CHANNEL_MULTIPLE,
        fused=True,
    )
    frames = [torch.empty(3, height, width, device=meta) for _ in range(model.config.num_frames - 1 + windows)]
    with OperationCounter():
        # Channels last, as those that are counted.
        states = [runner.frame_state(frame) for frame in frames[windows:]]
    counter = OperationCounter()

    def compute() -> None:
        with counter:
            states.extend(runner.frame_states(frames[:windows]))
            runner.windows([states[first : first + model.config.num_frames] for first in range(windows)])

    # Triton's are not seen by torch.
    macs = count_multiply_adds(compute) + counter.fused_multiply_adds
    return OperationCounts(
        counter.launches / windows, counter.traffic_bytes / windows, macs / windows / (height * width)
    )
