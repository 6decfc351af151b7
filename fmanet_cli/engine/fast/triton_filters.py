"""Triton kernels for depth-wise 3x3 convolutions, with a gate where one half of the channels opens the other."""

from __future__ import annotations

import torch
from torch import Tensor

from fmanet_cli.engine.fast.triton_glue import BLOCK
from fmanet_cli.engine.fast.triton_kernels import is_observed, program

try:
    import triton
    from triton import language as tl
except ImportError:
    triton = None


def filter_into(target: Tensor, rows: Tensor, weight: Tensor, *, first_row: int, gated: bool = False) -> None:
    """A depth-wise 3x3 convolution of some rows; zero lies around what is given.

    Args:
        target: (N, C, h, W), channels last, its rows without gaps; overwritten. With `gated` (N, C / 2, h, W).
        rows: (N, C, H, W), likewise.
        weight: (9, C) float32, first row of each kernel first.
        first_row: row of `rows` that the first row of the result belongs to.
        gated: multiply the second half of the channels by GELU of the first half.
    """
    count, channels, height, width = rows.shape
    lanes = target.shape[1]
    if is_observed((rows, weight), (target,), multiply_adds=target.numel() * channels // lanes * 9):
        return
    with torch.cuda.device_of(rows):
        _filter_program[(triton.cdiv(target.shape[2] * width * lanes, BLOCK), count)](
            target,
            rows,
            weight,
            first_row,
            target.shape[2],
            height,
            width,
            target.stride(0),
            rows.stride(0),
            channels=channels,
            lanes=lanes,
            gated=gated,
            block=BLOCK,
            enable_fp_fusion=True,
        )


@program
def _filter_program(  # type: ignore[no-untyped-def]
    target,
    rows,
    weight,
    first_row,
    target_height,
    height,
    width,
    target_n,
    rows_n,
    channels: tl.constexpr,
    lanes: tl.constexpr,
    gated: tl.constexpr,
    block: tl.constexpr,
):
    """`block` values of one image, whose rows here never have 2^31."""
    number = tl.program_id(1).to(tl.int64)
    index = tl.program_id(0) * block + tl.arange(0, block)
    channel = index % lanes
    column = index // lanes % width
    row = index // lanes // width
    rows += number * rows_n
    total = tl.zeros((block,), tl.float32)
    other = tl.zeros((block,), tl.float32)
    for tap in tl.static_range(9):
        y = first_row + row + tap // 3 - 1
        x = column + tap % 3 - 1
        valid = (row < target_height) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
        place = (y * width + x) * channels + channel
        taps = weight + tap * channels + channel
        total += tl.load(rows + place, mask=valid, other=0.0).to(tl.float32) * tl.load(taps)
        if gated:
            other += tl.load(rows + place + lanes, mask=valid, other=0.0).to(tl.float32) * tl.load(taps + lanes)
    if gated:
        total = 0.5 * total * (1 + tl.erf(total * 0.7071067811865476)) * other
    tl.store(target + number * target_n + index, total.to(target.dtype.element_ty), mask=row < target_height)
