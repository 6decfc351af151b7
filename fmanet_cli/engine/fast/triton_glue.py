"""Triton kernels for what lies between the network's convolutions: each reads and writes memory once.

The plain code beside them is in `layers`; `fused` says where Triton cannot be used.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fmanet_cli.engine.fast.triton_kernels import is_observed, program
from fmanet_cli.model.activation import NEGATIVE_SLOPE

try:
    import triton
    from triton import language as tl
except ImportError:
    triton = None

BLOCK = 1024
"""Elements that one program computes."""


def norm(picture: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """Layer normalisation over the channels of each pixel, sums in float32.

    Args:
        picture: (N, C, H, W), channels last, its rows without gaps; channels from C' on are zero.
        weight: (C') float32.
        bias: (C') float32.
        epsilon: added to the variance.

    Returns:
        (N, C, H, W), the same dtype, channels last, zero from channel C' on.
    """
    count, channels, height, width = picture.shape
    result = torch.empty_like(picture, memory_format=torch.channels_last)
    if is_observed((picture, weight, bias), (result,)):
        return result
    lanes = triton.next_power_of_2(channels)
    pixels = max(1, BLOCK // lanes)
    with torch.cuda.device_of(picture):
        _norm_program[(triton.cdiv(height * width, pixels), count)](
            result,
            picture,
            weight,
            bias,
            height * width,
            picture.stride(0),
            epsilon,
            channels=channels,
            real=len(weight),
            lanes=lanes,
            block=pixels,
            enable_fp_fusion=True,
        )
    return result


def grow(wide: Tensor, pending: Tensor | None, collected: Tensor, growth: int) -> Tensor:
    """The next output of a dense block whose layers are grouped by source.

    Args:
        wide: (N, R, H, W), channels last: what the newest source gives to all later layers; overwritten from channel
            `growth` on with what has come together for the layers after the next one.
        pending: (N, R, H, W), any channel stride of 1: what older sources gave; None for none.
        collected: (N, growth, H, W), part of a channels-last tensor: gets the output too.
        growth: channels of a layer.

    Returns:
        (N, growth, H, W), channels last: LeakyReLU of the sums for the next layer.
    """
    count, remaining, height, width = wide.shape
    output = torch.empty(
        (count, growth, height, width), dtype=wide.dtype, device=wide.device, memory_format=torch.channels_last
    )
    written = (output, collected, wide[:, growth:])
    if is_observed((wide,) if pending is None else (wide, pending), written):
        return output
    source = wide if pending is None else pending
    total = count * height * width * remaining
    with torch.cuda.device_of(wide):
        _grow_program[(triton.cdiv(total, BLOCK),)](
            output,
            collected,
            wide,
            source,
            total,
            collected.stride(3),
            source.stride(3),
            has_pending=pending is not None,
            remaining=remaining,
            growth=growth,
            slope=NEGATIVE_SLOPE,
            block=BLOCK,
            enable_fp_fusion=True,
        )
    return output


def gated(gate: Tensor, content: Tensor) -> Tensor:
    """`gelu(gate) * content` in place of `gate`: both (N, C, H, W), channels last, without gaps."""
    if is_observed((gate, content), (gate,)):
        return gate
    with torch.cuda.device_of(gate):
        _gate_program[(triton.cdiv(gate.numel(), BLOCK),)](
            gate, content, gate.numel(), block=BLOCK, enable_fp_fusion=True
        )
    return gate


@program
def _norm_program(  # type: ignore[no-untyped-def]
    result,
    picture,
    weight,
    bias,
    pixels,
    picture_n,
    epsilon,
    channels: tl.constexpr,
    real: tl.constexpr,
    lanes: tl.constexpr,
    block: tl.constexpr,
):
    """`block` pixels of one picture."""
    number = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    lane = tl.arange(0, lanes)[None, :]
    inside = (pixel < pixels)[:, None]
    known = inside & (lane < real)
    offset = pixel[:, None] * channels + lane
    values = tl.load(picture + number * picture_n + offset, mask=known, other=0.0).to(tl.float32)
    mean = tl.sum(values, 1) / real
    centred = tl.where(known, values - mean[:, None], 0.0)
    variance = tl.sum(centred * centred, 1) / real
    scaled = centred * (1 / tl.sqrt(variance + epsilon))[:, None]
    factor = tl.load(weight + lane, mask=lane < real, other=0.0)
    shift = tl.load(bias + lane, mask=lane < real, other=0.0)
    place = result + number * pixels * channels + offset
    tl.store(place, (scaled * factor + shift).to(result.dtype.element_ty), mask=inside & (lane < channels))


@program
def _grow_program(  # type: ignore[no-untyped-def]
    output,
    collected,
    wide,
    pending,
    total,
    collected_x,
    pending_x,
    has_pending: tl.constexpr,
    remaining: tl.constexpr,
    growth: tl.constexpr,
    slope: tl.constexpr,
    block: tl.constexpr,
):
    """`block` values; pixels of all pictures lie one after the other."""
    index = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = index < total
    pixel = index // remaining
    channel = index % remaining
    value = tl.load(wide + index, mask=inside, other=0.0).to(tl.float32)
    if has_pending:
        value += tl.load(pending + pixel * pending_x + channel, mask=inside, other=0.0).to(tl.float32)
        tl.store(wide + index, value.to(wide.dtype.element_ty), mask=inside & (channel >= growth))
    is_next = inside & (channel < growth)
    active = tl.where(value > 0, value, value * slope).to(output.dtype.element_ty)
    tl.store(output + pixel * growth + channel, active, mask=is_next)
    tl.store(collected + pixel * collected_x + channel, active, mask=is_next)


@program
def _gate_program(gate, content, total, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """`block` values."""
    index = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = index < total
    value = tl.load(gate + index, mask=inside, other=0.0).to(tl.float32)
    other = tl.load(content + index, mask=inside, other=0.0).to(tl.float32)
    active = 0.5 * value * (1 + tl.erf(value * 0.7071067811865476))
    tl.store(gate + index, (active * other).to(gate.dtype.element_ty), mask=inside)
