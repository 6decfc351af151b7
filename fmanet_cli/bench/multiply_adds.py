"""Multiply-adds of convolutions and matrix products, counted by PyTorch while they are executed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def count_multiply_adds(compute: Callable[[], object]) -> int:
    """How many multiply-adds `compute` executes on this thread; one is two floating-point operations.

    Interpolation, elementwise work and kernels outside torch's dispatcher (Triton, a replayed CUDA graph) are not seen.
    """
    # PyTorch's table lacks the products that are added in place.
    added = {torch.ops.aten.addmm_: _added_in_place, torch.ops.aten.baddbmm_: _added_in_place}
    with FlopCounterMode(display=False, custom_mapping=added) as counter:
        compute()
    return counter.get_total_flops() // 2


def _added_in_place(_: Sequence[int], left: Sequence[int], right: Sequence[int], **__: Any) -> int:
    return 2 * prod(left) * right[-1]
