"""The Triton kernel for the last step of a dense block: everything it has grown, in one read and one write."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fmanet_cli.engine.fast.triton_kernels import is_observed, program
from fmanet_cli.model.activation import NEGATIVE_SLOPE

try:
    import triton
    from triton import language as tl
except ImportError:
    triton = None

BLOCK = 64
"""Pixels of a program."""

STEP = 32
"""Channels that are multiplied at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Grown:
    """A dense block's layers, the last one as it comes from its convolution."""

    collected: Tensor
    """(N, G', H, W), channels last, without gaps: the outputs of all layers but the last."""
    wide: Tensor
    """(N, growth or more, H, W), any channel stride of 1: what the newest source gives to the last layer."""
    pending: Tensor | None
    """Likewise, what the older ones gave; None for none."""
    growth: int
    """Channels of a layer."""


def fuse_into(
    target: Tensor, image: Tensor, grown: Grown, matrix: Tensor, bias: Tensor | None, *, add: Tensor | None
) -> None:
    """One linear step from a block's input and all its layers, LeakyReLU of the last one included.

    Args:
        target: (N, C, H, W), channels last, without gaps; overwritten. It may be `add`.
        image: (N, C, H, W), likewise: the block's input.
        grown: its layers.
        matrix: (C + G' + growth, C), in and out, without gaps.
        bias: (C) float32, added; None for none.
        add: (N, C, H, W), added; None for nothing.
    """
    pixels, channels = target.numel() // target.shape[1], target.shape[1]
    collected, wide = grown.collected, grown.wide[:, : grown.growth]
    source = wide if grown.pending is None else grown.pending[:, : grown.growth]
    inputs = [image, collected, wide, matrix]
    inputs += [part for part in (grown.pending, bias, add) if part is not None]
    if add is image:
        inputs.pop()
    if is_observed(inputs, (target,), multiply_adds=pixels * matrix.numel()):
        return
    with torch.cuda.device_of(image):
        _fuse_program[(triton.cdiv(pixels, BLOCK),)](
            target,
            image,
            collected,
            wide,
            source,
            matrix,
            matrix if bias is None else bias,
            image if add is None else add,
            pixels,
            wide.stride(3),
            source.stride(3),
            has_pending=grown.pending is not None,
            has_bias=bias is not None,
            has_added=add is not None,
            channels=channels,
            layers=collected.shape[1],
            growth=grown.growth,
            lanes=triton.next_power_of_2(max(channels, 16)),
            last_lanes=triton.next_power_of_2(max(grown.growth, 16)),
            slope=NEGATIVE_SLOPE,
            step=STEP,
            block=BLOCK,
            enable_fp_fusion=True,
        )


@program
def _fuse_program(  # type: ignore[no-untyped-def]
    target,
    image,
    collected,
    wide,
    pending,
    matrix,
    bias,
    added,
    pixels,
    wide_x,
    pending_x,
    has_pending: tl.constexpr,
    has_bias: tl.constexpr,
    has_added: tl.constexpr,
    channels: tl.constexpr,
    layers: tl.constexpr,
    growth: tl.constexpr,
    lanes: tl.constexpr,
    last_lanes: tl.constexpr,
    slope: tl.constexpr,
    step: tl.constexpr,
    block: tl.constexpr,
):
    """`block` pixels; those of all images lie one after the other."""
    pixel = (tl.program_id(0).to(tl.int64) * block + tl.arange(0, block))[:, None]
    inside = pixel < pixels
    output = tl.arange(0, lanes)[None, :]
    real = output < channels
    lane = tl.arange(0, step)
    total = tl.zeros((block, lanes), tl.float32)
    for first in tl.static_range(0, channels, step):
        part = first + lane
        values = tl.load(image + pixel * channels + part[None, :], inside & (part < channels)[None, :], other=0.0)
        rows = part[:, None]
        factors = tl.load(matrix + rows * channels + output, mask=(rows < channels) & real, other=0.0)
        total = tl.dot(values, factors, total, input_precision="ieee")
    matrix += channels * channels
    for first in tl.static_range(0, layers, step):
        part = first + lane
        values = tl.load(collected + pixel * layers + part[None, :], inside & (part < layers)[None, :], other=0.0)
        rows = part[:, None]
        factors = tl.load(matrix + rows * channels + output, mask=(rows < layers) & real, other=0.0)
        total = tl.dot(values, factors, total, input_precision="ieee")
    matrix += layers * channels

    last = tl.arange(0, last_lanes)
    known = inside & (last < growth)[None, :]
    value = tl.load(wide + pixel * wide_x + last[None, :], mask=known, other=0.0).to(tl.float32)
    if has_pending:
        value += tl.load(pending + pixel * pending_x + last[None, :], mask=known, other=0.0).to(tl.float32)
    value = tl.where(value > 0, value, value * slope).to(image.dtype.element_ty)
    rows = last[:, None]
    factors = tl.load(matrix + rows * channels + output, mask=(rows < growth) & real, other=0.0)
    total = tl.dot(value, factors, total, input_precision="ieee")

    known = inside & real
    if has_bias:
        total += tl.load(bias + output, mask=real, other=0.0)
    if has_added:
        total += tl.load(added + pixel * channels + output, mask=known, other=0.0).to(tl.float32)
    tl.store(target + pixel * channels + output, total.to(target.dtype.element_ty), mask=known)
