"""Fused Triton kernels for multi-flow warping and dynamic upsampling; `fused` says where they cannot run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fmanet_cli.model.config import FLOW_MASK_CHANNELS, IMAGE_CHANNELS

try:
    import triton
    from triton import language as tl
except ImportError:
    triton = None

observer: Callable[[Sequence[Tensor], Sequence[Tensor], int], None] | None = None
"""Is told the inputs, outputs and multiply-adds of every launch; for counting."""

VECTOR_BYTES = 16
"""The widest load of one thread."""
WARP_BLOCK = 256
"""Vectors of channels that one program warps."""
UPSAMPLE_BLOCK = 64
"""Low-resolution pixels of a row that one program upsamples."""


def warp_into(target: Tensor, features: Tensor, flow_masks: Tensor) -> None:
    """Warp groups of channels with their own flow-mask pairs and write them where they are needed (paper Eq. 2).

    One launch for all images: gather, occlusion mask and conversion, nothing in between is stored. Coordinates and
    sums are float32.

    Args:
        target: (N, C, H, W), any strides, float16, bfloat16 or float32; overwritten.
        features: (N, C, H, W), any strides (channels last is fastest), not overlapping `target`.
        flow_masks: (N, 3n, H, W), any strides: per pair flow x, flow y in pixels and the occlusion logit.

    Raises:
        ValueError: the shapes do not belong together.
    """
    count, channels, height, width = features.shape
    pairs = flow_masks.shape[1] // FLOW_MASK_CHANNELS
    fits = flow_masks.shape == (count, FLOW_MASK_CHANNELS * pairs, height, width) and channels % max(pairs, 1) == 0
    if target.shape != features.shape or not fits or pairs == 0:
        raise ValueError(
            f"cannot warp features {tuple(features.shape)} with flow-mask pairs {tuple(flow_masks.shape)} "
            f"into {tuple(target.shape)}"
        )
    group = channels // pairs
    vector = math.gcd(group, VECTOR_BYTES // features.element_size())
    vectors = channels // vector
    if is_observed((features, flow_masks), (target,)):
        return
    grid = (triton.cdiv(width * vectors, WARP_BLOCK), height, count)
    with torch.cuda.device_of(features):
        _warp_program[grid](
            target,
            features,
            flow_masks,
            height,
            width,
            *target.stride(),
            *features.stride(),
            *flow_masks.stride(),
            vectors=vectors,
            group_vectors=group // vector,
            vector=vector,
            aligned_target=_vectors_aligned(target, vector),
            aligned_features=_vectors_aligned(features, vector),
            block=WARP_BLOCK,
            enable_fp_fusion=True,
        )


def dynamic_upsample_into(
    target: Tensor,
    frames: Tensor,
    kernels: Tensor,
    *,
    first_row: int = 0,
    residual: Tensor | None = None,
    clamp: bool = False,
) -> None:
    """Flow-guided dynamic upsampling (paper Eq. 6), residual, clamping and rounding in one pass over the kernels.

    The shift that makes the taps of a high-resolution pixel sum to one over all frames is added at the end, as the sum
    of the neighbourhood times the missing weight. Sums are float32. The frames come warped: to warp them here would
    repeat the gathering for every tap.

    Args:
        target: (3, s * h, s * W), any strides, float32, or uint8 for values in [0, 1] rounded to 8 bit; overwritten.
        frames: (T, 3, H, W) float32, warped and masked, whole; continued by their edge pixels.
        kernels: (T, s * s, k * k, h, W), any strides; fastest where the sub-pixels of a tap are neighbours in memory.
        first_row: row of the frames that the kernels' first row belongs to.
        residual: (3, s * h, s * W), any strides, added before clamping.
        clamp: limit the result to [0, 1]; always done for uint8.

    Raises:
        ValueError: the shapes do not belong together.
    """
    count, subpixels, taps, rows, width = kernels.shape
    scale, side = math.isqrt(subpixels), math.isqrt(taps)
    height = frames.shape[2]
    fits = target.shape == (IMAGE_CHANNELS, rows * scale, width * scale) and side % 2 == 1
    fits = fits and frames.shape == (count, IMAGE_CHANNELS, height, width) and 0 <= first_row <= height - rows
    fits = fits and (subpixels, taps) == (scale**2, side**2) and subpixels & (subpixels - 1) == 0
    if not fits or (residual is not None and residual.shape != target.shape):
        raise ValueError(
            f"cannot upsample frames {tuple(frames.shape)} from row {first_row} with kernels {tuple(kernels.shape)} "
            f"into {tuple(target.shape)}"
        )
    added = target if residual is None else residual
    given = (frames, kernels) if residual is None else (frames, kernels, residual)
    if is_observed(given, (target,), multiply_adds=IMAGE_CHANNELS * kernels.numel()):
        return
    grid = (triton.cdiv(width, UPSAMPLE_BLOCK), rows)
    with torch.cuda.device_of(kernels):
        _upsample_program[grid](
            target,
            frames,
            kernels,
            added,
            height,
            width,
            first_row,
            *target.stride(),
            *frames.stride(),
            *kernels.stride(),
            *added.stride(),
            num_frames=count,
            side=side,
            scale=scale,
            has_residual=residual is not None,
            clamp=clamp or target.dtype == torch.uint8,
            rounded=target.dtype == torch.uint8,
            block=UPSAMPLE_BLOCK,
            enable_fp_fusion=True,
        )


def is_observed(inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, multiply_adds: int = 0) -> bool:
    """Tell the observer of a launch; return whether that is all, because there are no values.

    `multiply_adds`: of its convolutions and matrix products.
    """
    if observer is not None:
        observer(inputs, outputs, multiply_adds)
    return outputs[0].is_meta


def _vectors_aligned(image: Tensor, vector: int) -> bool:
    """Whether every `vector` channels of each pixel can be one load or store."""
    strides = image.stride()
    steps = (*strides[:1], *strides[2:], image.data_ptr() // image.element_size())
    return strides[1] == 1 and all(step % vector == 0 for step in steps)


def program(function):  # type: ignore[no-untyped-def]
    """A Triton program; without Triton it stays a function that nobody calls."""
    return function if triton is None else triton.jit(function)


@program
def _warp_program(  # type: ignore[no-untyped-def]
    target,
    features,
    flow_masks,
    height,
    width,
    target_n,
    target_c,
    target_y,
    target_x,
    features_n,
    features_c,
    features_y,
    features_x,
    masks_n,
    masks_c,
    masks_y,
    masks_x,
    vectors: tl.constexpr,
    group_vectors: tl.constexpr,
    vector: tl.constexpr,
    aligned_target: tl.constexpr,
    aligned_features: tl.constexpr,
    block: tl.constexpr,
):
    """`block` vectors of channels in one row of one image."""
    # Products with a row or an image may exceed 32 bits.
    image = tl.program_id(2).to(tl.int64)
    row = tl.program_id(1).to(tl.int64)
    index = tl.program_id(0) * block + tl.arange(0, block)
    column = index // vectors
    channel = index % vectors * vector
    inside = column < width

    pair = index % vectors // group_vectors
    field = flow_masks + image * masks_n + row * masks_y + column * masks_x + pair * 3 * masks_c
    x = column + tl.load(field, mask=inside, other=0.0).to(tl.float32)
    y = row.to(tl.float32) + tl.load(field + masks_c, mask=inside, other=0.0).to(tl.float32)
    occlusion = tl.sigmoid(tl.load(field + 2 * masks_c, mask=inside, other=0.0).to(tl.float32))
    # Positions outside the image read zero. They are clamped first: NaN and huge floats have no integer value.
    x = tl.where((x > -2) & (x < width + 1), x, -2.0)
    y = tl.where((y > -2) & (y < height + 1), y, -2.0)
    # The plain sampling grid has nowhere to point to in an image of one column or row.
    x = tl.where(width == 1, 0.0, x)
    y = tl.where(height == 1, 0.0, y)
    left = tl.floor(x)
    top = tl.floor(y)
    right_share = x - left
    bottom_share = y - top
    left = left.to(tl.int32)
    top = top.to(tl.int32)

    lane = tl.arange(0, vector)[None, :]
    lanes = channel[:, None] * features_c + lane * features_c
    total = tl.zeros((block, vector), tl.float32)
    for corner in tl.static_range(4):
        corner_x = left + corner % 2
        corner_y = top + corner // 2
        share_x = right_share if corner % 2 == 1 else 1 - right_share
        share_y = bottom_share if corner // 2 == 1 else 1 - bottom_share
        valid = inside & (corner_x >= 0) & (corner_x < width) & (corner_y >= 0) & (corner_y < height)
        offset = image * features_n + corner_y.to(tl.int64) * features_y + corner_x * features_x
        if aligned_features:
            offset = tl.multiple_of(offset, vector)
        values = tl.load(features + (offset[:, None] + lanes), mask=valid[:, None], other=0.0)
        total += values.to(tl.float32) * (share_x * share_y)[:, None]

    offset = image * target_n + row * target_y + column * target_x
    if aligned_target:
        offset = tl.multiple_of(offset, vector)
    place = target + (offset[:, None] + channel[:, None] * target_c + lane * target_c)
    tl.store(place, (total * occlusion[:, None]).to(target.dtype.element_ty), mask=inside[:, None])


@program
def _upsample_program(  # type: ignore[no-untyped-def]
    target,
    frames,
    kernels,
    residual,
    height,
    width,
    first_row,
    target_c,
    target_y,
    target_x,
    frames_t,
    frames_c,
    frames_y,
    frames_x,
    kernels_t,
    kernels_s,
    kernels_k,
    kernels_y,
    kernels_x,
    residual_c,
    residual_y,
    residual_x,
    num_frames: tl.constexpr,
    side: tl.constexpr,
    scale: tl.constexpr,
    has_residual: tl.constexpr,
    clamp: tl.constexpr,
    rounded: tl.constexpr,
    block: tl.constexpr,
):
    """The high-resolution pixels of `block` low-resolution pixels of one row, all three channels."""
    row = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * block + tl.arange(0, block)
    subpixel = tl.arange(0, scale * scale)
    inside = column < width

    first = tl.zeros((block, scale * scale), tl.float32)
    second = tl.zeros((block, scale * scale), tl.float32)
    third = tl.zeros((block, scale * scale), tl.float32)
    weights = tl.zeros((block, scale * scale), tl.float32)
    first_sum = tl.zeros((block,), tl.float32)
    second_sum = tl.zeros((block,), tl.float32)
    third_sum = tl.zeros((block,), tl.float32)
    lanes = column[:, None] * kernels_x + subpixel[None, :] * kernels_s
    kernels += row * kernels_y
    for _ in range(num_frames):
        for tap_row in range(side):
            y = tl.minimum(tl.maximum(first_row + row + tap_row - side // 2, 0), height - 1)
            for tap_column in tl.static_range(side):
                x = tl.minimum(tl.maximum(column + tap_column - side // 2, 0), width - 1)
                pixel = frames + y * frames_y + x * frames_x
                weight = tl.load(kernels + tap_column * kernels_k + lanes, inside[:, None], other=0.0).to(tl.float32)
                value = tl.load(pixel)
                first += weight * value[:, None]
                first_sum += value
                value = tl.load(pixel + frames_c)
                second += weight * value[:, None]
                second_sum += value
                value = tl.load(pixel + 2 * frames_c)
                third += weight * value[:, None]
                third_sum += value
                weights += weight
            kernels += side * kernels_k
        frames += frames_t
        kernels += kernels_t - side * side * kernels_k

    missing = (1 - weights) / (num_frames * side * side)
    y = row * scale + subpixel[None, :] // scale
    x = column[:, None] * scale + subpixel[None, :] % scale
    place = target + y * target_y + x * target_x
    added = residual + y * residual_y + x * residual_x
    valid = inside[:, None]
    _finish(place, first + missing * first_sum[:, None], added, valid, has_residual, clamp, rounded)
    place += target_c
    added += residual_c
    _finish(place, second + missing * second_sum[:, None], added, valid, has_residual, clamp, rounded)
    place += target_c
    added += residual_c
    _finish(place, third + missing * third_sum[:, None], added, valid, has_residual, clamp, rounded)


@program
def _finish(  # type: ignore[no-untyped-def]
    place, value, added, valid, has_residual: tl.constexpr, clamp: tl.constexpr, rounded: tl.constexpr
):
    """Store one channel."""
    if has_residual:
        value += tl.load(added, mask=valid, other=0.0).to(tl.float32)
    if clamp:
        value = tl.minimum(tl.maximum(value, 0.0), 1.0)
    if rounded:
        value = tl.floor(value * 255 + 0.5)
    tl.store(place, value.to(place.dtype.element_ty), mask=valid)
