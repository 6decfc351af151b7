"""Multiply-adds counted while they are executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_CONVOLUTIONS = {"convolution", "_convolution", "mkldnn_convolution", "_convolution_pointwise"}
_TRANSPOSED_ARGUMENT = 6
_FIRST_MATRIX = {"mm": 0, "bmm": 0, "addmm": 1, "_addmm_activation": 1, "baddbmm": 1, "addbmm": 1}
"""Matrix products, and which argument is the left matrix; the right one follows it."""


class MultiplyAddCounter(TorchDispatchMode):
    """Counts the multiply-adds of convolutions and matrix products inside its `with` block, on the same thread.

    Interpolation, elementwise work and kernels outside torch's dispatcher (Triton, a replayed CUDA graph) are not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        """Multiply-adds so far; one multiply-add is two floating-point operations."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs one operation and counts it; operations made of others are taken apart first."""
        named = dict(kwargs or {})
        name = func.overloadpacket.__name__.removesuffix("_")
        if name not in _CONVOLUTIONS and name not in _FIRST_MATRIX:
            # In inference mode conv2d and matmul arrive whole.
            with self:
                result = func.decompose(*args, **named)
            if result is not NotImplemented:
                return result
        result = func(*args, **named)
        if name in _FIRST_MATRIX:
            left, right = args[_FIRST_MATRIX[name] :][:2]
            self.total += left.numel() * right.shape[-1]
        elif name in _CONVOLUTIONS:
            self.total += _convolution(args, result)
        return result


def _convolution(args: Sequence[Any], result: Tensor) -> int:
    """Each weight of a filter is used once for each pixel of the side that the filter steps over."""
    image, weight = args[:2]
    transposed = len(args) > _TRANSPOSED_ARGUMENT and args[_TRANSPOSED_ARGUMENT] is True
    return (image if transposed else result).numel() * weight[0].numel()


def count_multiply_adds(compute: Callable[[], object]) -> int:
    """How many multiply-adds `compute` executes in convolutions and matrix products."""
    with MultiplyAddCounter() as counter:
        compute()
    return counter.total
