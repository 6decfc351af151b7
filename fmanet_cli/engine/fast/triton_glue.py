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


def norm(image: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """Layer normalisation over the channels of each pixel, sums in float32.

    Args:
        image: (N, C, H, W), channels last, its rows without gaps; channels from C' on are zero.
        weight: (C') float32.
        bias: (C') float32.
        epsilon: added to the variance.

    Returns:
        (N, C, H, W), the same dtype, channels last, zero from channel C' on.
    """
    count, channels, height, width = image.shape
    result = torch.empty_like(image, memory_format=torch.channels_last)
    if is_observed((image, weight, bias), (result,)):
        return result
    lanes = triton.next_power_of_2(channels)
    pixels = max(1, BLOCK // lanes)
    with torch.cuda.device_of(image):
        _norm_program[(triton.cdiv(height * width, pixels), count)](
            result,
            image,
            weight,
            bias,
            height * width,
            image.stride(0),
            epsilon,
            channels=channels,
            real=len(weight),
            lanes=lanes,
            block=pixels,
            enable_fp_fusion=True,
        )
    return result


def grow(wide: Tensor, pending: Tensor | None, collected: Tensor, *, remaining: int, padded: int) -> Tensor:
    """The next output of a dense block whose layers are grouped by source.

    Args:
        wide: (N, R', H, W), channels last: what the newest source gives to all later layers; overwritten from channel
            `growth` to `remaining` with what has come together for the layers after the next one.
        pending: (N, R'', H, W), any channel stride of 1: what older sources gave; None for none.
        collected: (N, growth, H, W), part of a channels-last tensor: gets the output too.
        remaining: channels of all later layers; what lies behind them in `wide` and `pending` is not looked at.
        padded: channels of the result.

    Returns:
        (N, padded, H, W), channels last: LeakyReLU of the sums for the next layer, zero from channel `growth` on.
    """
    count, growth, height, width = collected.shape
    output = torch.empty(
        (count, padded, height, width), dtype=wide.dtype, device=wide.device, memory_format=torch.channels_last
    )
    written = (output, collected) if pending is None else (output, collected, wide[:, growth:remaining])
    if is_observed((wide,) if pending is None else (wide, pending[:, :remaining]), written):
        return output
    source = wide if pending is None else pending
    pixels, lanes = count * height * width, triton.next_power_of_2(max(remaining, padded))
    block = max(1, BLOCK // lanes)
    with torch.cuda.device_of(wide):
        _grow_program[(triton.cdiv(pixels, block),)](
            output,
            collected,
            wide,
            source,
            pixels,
            collected.stride(3),
            wide.stride(3),
            source.stride(3),
            has_pending=pending is not None,
            remaining=remaining,
            growth=growth,
            padded=padded,
            lanes=lanes,
            slope=NEGATIVE_SLOPE,
            block=block,
            enable_fp_fusion=True,
        )
    return output


def flow_hidden(hidden: Tensor, guided: Tensor, channels: int) -> Tensor:
    """LeakyReLU of sums in float32, for a convolution that predicts optical flow.

    Args:
        hidden: (T * B, C, H, W), channels last, without gaps.
        guided: (B, C, H, W), likewise: added to the images of each of T moments.
        channels: of the result, the first ones.

    Returns:
        (T * B, channels, H, W) float32, channels last.
    """
    count, width = hidden.shape[:2]
    result = torch.empty(
        (count, channels, *hidden.shape[2:]),
        dtype=torch.float32,
        device=hidden.device,
        memory_format=torch.channels_last,
    )
    if is_observed((hidden, guided), (result,)):
        return result
    with torch.cuda.device_of(hidden):
        _flow_program[(triton.cdiv(result.numel(), BLOCK),)](
            result,
            hidden,
            guided,
            result.numel(),
            guided.numel() // width,
            width=width,
            channels=channels,
            slope=NEGATIVE_SLOPE,
            block=BLOCK,
            enable_fp_fusion=True,
        )
    return result


def shuffled(image: Tensor, channels: int, padded: int) -> Tensor:
    """LeakyReLU and pixel shuffle to twice the size.

    Args:
        image: (N, 4C', H, W), channels last, without gaps; its channels are those of the four pixels one after the
            other, first row first, and what is behind 4C.
        channels: C.
        padded: channels of the result.

    Returns:
        (N, padded, 2H, 2W), channels last, zero from channel C on.
    """
    count, given, height, width = image.shape
    result = torch.empty(
        (count, padded, 2 * height, 2 * width),
        dtype=image.dtype,
        device=image.device,
        memory_format=torch.channels_last,
    )
    if is_observed((image,), (result,)):
        return result
    with torch.cuda.device_of(image):
        _shuffle_program[(triton.cdiv(result[0].numel(), BLOCK), count)](
            result,
            image,
            height,
            width,
            given=given,
            channels=channels,
            padded=padded,
            slope=NEGATIVE_SLOPE,
            block=BLOCK,
            enable_fp_fusion=True,
        )
    return result


@program
def _norm_program(  # type: ignore[no-untyped-def]
    result,
    image,
    weight,
    bias,
    pixels,
    image_n,
    epsilon,
    channels: tl.constexpr,
    real: tl.constexpr,
    lanes: tl.constexpr,
    block: tl.constexpr,
):
    """`block` pixels of one image."""
    number = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    lane = tl.arange(0, lanes)[None, :]
    inside = (pixel < pixels)[:, None]
    known = inside & (lane < real)
    offset = pixel[:, None] * channels + lane
    values = tl.load(image + number * image_n + offset, mask=known, other=0.0).to(tl.float32)
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
    pixels,
    collected_x,
    wide_x,
    pending_x,
    has_pending: tl.constexpr,
    remaining: tl.constexpr,
    growth: tl.constexpr,
    padded: tl.constexpr,
    lanes: tl.constexpr,
    slope: tl.constexpr,
    block: tl.constexpr,
):
    """`block` pixels; those of all images lie one after the other."""
    pixel = (tl.program_id(0).to(tl.int64) * block + tl.arange(0, block))[:, None]
    channel = tl.arange(0, lanes)[None, :]
    inside = pixel < pixels
    known = inside & (channel < remaining)
    value = tl.load(wide + pixel * wide_x + channel, mask=known, other=0.0).to(tl.float32)
    if has_pending:
        value += tl.load(pending + pixel * pending_x + channel, mask=known, other=0.0).to(tl.float32)
        later = known & (channel >= growth)
        tl.store(wide + pixel * wide_x + channel, value.to(wide.dtype.element_ty), mask=later)
    active = tl.where(value > 0, value, value * slope)
    active = tl.where(channel < growth, active, 0.0).to(output.dtype.element_ty)
    tl.store(output + pixel * padded + channel, active, mask=inside & (channel < padded))
    tl.store(collected + pixel * collected_x + channel, active, mask=inside & (channel < growth))


@program
def _flow_program(  # type: ignore[no-untyped-def]
    result,
    hidden,
    guided,
    total,
    guided_pixels,
    width: tl.constexpr,
    channels: tl.constexpr,
    slope: tl.constexpr,
    block: tl.constexpr,
):
    """`block` values."""
    index = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = index < total
    pixel = index // channels
    channel = index % channels
    value = tl.load(hidden + pixel * width + channel, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(guided + pixel % guided_pixels * width + channel, mask=inside, other=0.0).to(tl.float32)
    tl.store(result + index, tl.where(value > 0, value, value * slope), mask=inside)


@program
def _shuffle_program(  # type: ignore[no-untyped-def]
    result,
    image,
    height,
    width,
    given: tl.constexpr,
    channels: tl.constexpr,
    padded: tl.constexpr,
    slope: tl.constexpr,
    block: tl.constexpr,
):
    """`block` values of one image, which here never has 2^31."""
    number = tl.program_id(1).to(tl.int64)
    index = tl.program_id(0) * block + tl.arange(0, block)
    channel = index % padded
    column = index // padded % (2 * width)
    row = index // padded // (2 * width)
    inside = row < 2 * height
    source = (row // 2 * width + column // 2) * given + (row % 2 * 2 + column % 2) * channels + channel
    image += number * height * width * given
    value = tl.load(image + source, mask=inside & (channel < channels), other=0.0).to(tl.float32)
    active = tl.where(value > 0, value, value * slope).to(result.dtype.element_ty)
    tl.store(result + number * 4 * height * width * padded + index, active, mask=inside)
