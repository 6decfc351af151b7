"""Multi-flow occlusion-aware warping and dynamic upsampling for streaming, in bounded memory."""

from __future__ import annotations

import math
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional as F

from fmanet_cli.model.config import FLOW_MASK_CHANNELS

WARPED_BYTES = 32 << 20
"""Size of the float32 copies of rows that are sampled together; whole images up to here, which is fastest."""


def warp_into(target: Tensor, features: Tensor, flow_masks: Tensor, *, fused: bool = False) -> None:
    """Warp groups of channels with their own flow-mask pairs and write the result where it is needed.

    Args:
        target: (N, C, H, W), any strides, any dtype; overwritten.
        features: (N, C, H, W).
        flow_masks: (N, 3n, H, W) float32: per pair flow x, flow y in pixels and the occlusion logit.
        fused: by the Triton kernel.
    """
    if fused:
        _kernels().warp_into(target, features, flow_masks)
        return
    pairs = flow_masks.shape[1] // FLOW_MASK_CHANNELS
    for out, image, fields in zip(target, features, flow_masks, strict=True):
        groups = warp_source(image).unflatten(0, (pairs, -1))
        flows = fields.unflatten(0, (pairs, FLOW_MASK_CHANNELS))
        rows = max(1, WARPED_BYTES // (4 * len(image) * flows.shape[3]))
        for first, part in zip(range(0, flows.shape[2], rows), flows.split(rows, dim=2), strict=True):
            grid = _sampling_grid(part, first, flows.shape[2])
            warped = F.grid_sample(groups, grid, padding_mode="zeros", align_corners=True)
            warped *= part[:, 2:].contiguous().sigmoid_()
            # Changing the layout costs more than rounding; rounding first, it moves half as many bytes.
            out[:, first : first + part.shape[2]].copy_(warped.flatten(0, 1).to(out.dtype))


def _sampling_grid(flows: Tensor, first_row: int, height: int) -> Tensor:
    """Where some rows of an image of `height` rows are sampled; -1 to 1 between its outermost pixels.

    `model.filtering.backward_warp` computes the same for whole images.

    Args:
        flows: (N, 2 or more, h, W) float32: optical flow x, y in pixels.
        first_row: row of the image that the flows' first row belongs to.
        height: of the image.

    Returns:
        (N, h, W, 2).
    """
    rows, width = flows.shape[-2:]
    grid = flows.new_empty(len(flows), rows, width, 2)
    x = torch.arange(width, device=flows.device, dtype=flows.dtype)
    y = torch.arange(first_row, first_row + rows, device=flows.device, dtype=flows.dtype)[:, None]
    for axis, (at_rest, size) in enumerate(((x, width), (y, height))):
        unit = 2 / max(size - 1, 1)
        torch.add(at_rest * unit - 1, flows[:, axis], alpha=unit, out=grid[..., axis])
    return grid


def warp_source(features: Tensor, *, fused: bool = False) -> Tensor:
    """`features` as `warp_into` reads them fastest, for several warps of the same features."""
    if fused:
        return features
    return features.to(torch.float32, memory_format=torch.contiguous_format)


def upsample_source(frames: Tensor, taps: int, *, fused: bool = False) -> Tensor:
    """`frames` (T, 3, H, W) as `upsample_into` reads them, made once for all rows; `taps` is k * k.

    For the plain code the image is continued by its edge pixels and a fourth channel of ones is added, channels last.
    """
    if fused:
        return frames
    padded = F.pad(frames, (math.isqrt(taps) // 2,) * 4, mode="replicate").permute(0, 2, 3, 1)
    return torch.cat((padded, torch.ones_like(padded[..., :1])), dim=-1).permute(0, 3, 1, 2)


def upsample_into(
    target: Tensor, source: Tensor, kernels: Tensor, *, first_row: int, residual: Tensor, fused: bool = False
) -> None:
    """Flow-guided dynamic upsampling of some rows, plus a residual.

    Args:
        target: (3, s * h, s * W) float32, any strides; overwritten.
        source: `upsample_source` of the frames (T, 3, H, W) float32, warped and masked.
        kernels: (T, s * s, k * k, h, W).
        first_row: row of the frames that the kernels' first row belongs to.
        residual: like `target`, and may be it.
        fused: by the Triton kernel.
    """
    if fused:
        _kernels().dynamic_upsample_into(target, source, kernels, first_row=first_row, residual=residual)
        return
    _, subpixels, taps, rows, _ = kernels.shape
    near = source[:, :, first_row : first_row + rows + math.isqrt(taps) - 1]
    torch.add(_upsampled_rows(near, kernels.flatten(1, 2), math.isqrt(subpixels)), residual, out=target)


def _kernels() -> ModuleType:
    """Imported where they run: elsewhere not even Triton is."""
    from fmanet_cli.engine.fast import triton_kernels as kernels

    return kernels


def _upsampled_rows(source: Tensor, kernels: Tensor, scale: int) -> Tensor:
    """Weigh each pixel's neighbourhood with its restoration kernels.

    The kernels' taps are not shifted to a sum of one: since the sum is linear, the shift is added as the
    neighbourhood's sum times the missing weight.

    Args:
        source: (T, 4, h + k - 1, W + k - 1) float32, channels last: RGB and ones.
        kernels: (T, s * s * k * k, h, W), channels last.
        scale: s.

    Returns:
        (3, s * h, s * W) float32.
    """
    frames, channels, height, width = source.shape
    taps = kernels.shape[1] // scale**2
    side = math.isqrt(taps)
    height, width = height - side + 1, width - side + 1
    margin = side // 2
    # Taps that sum to one leave a constant alone, so the middle frame's pixel is taken out first: 16-bit products of
    # small differences keep what 16-bit products of the pixels themselves would lose. The channel of ones stays, and
    # gives the taps' sum.
    centre = source[frames // 2, :, margin : margin + height, margin : margin + width].permute(1, 2, 0)
    centre = centre.clone(memory_format=torch.contiguous_format)
    centre[..., 3] = 0
    centres = centre.repeat(1, 1, side)[:, :, None]
    total = torch.zeros(height * width, scale**2, channels, device=source.device)
    for frame, weights in zip(source.permute(0, 2, 3, 1), kernels, strict=True):
        # A row of a neighbourhood lies together in memory, and is read as one.
        down, right, _ = frame.stride()
        around = frame.as_strided((height, width, side, side * channels), (down, right, down, 1))
        values = torch.empty(height * width, taps, channels, dtype=kernels.dtype, device=source.device)
        values.view(around.shape).copy_(around - centres)
        total += torch.bmm(weights.permute(1, 2, 0).reshape(-1, scale**2, taps), values)
    centre = centre[..., :3].reshape(-1, 1, 3)
    sums = _box_sums(source.permute(0, 2, 3, 1).sum(0), side)[..., :3].reshape(-1, 1, 3)
    missing = (1 - total[..., 3:]) / (frames * taps)
    result = torch.addcmul(total[..., :3] + centre, missing, sums - frames * taps * centre)
    shuffled = result.view(height, width, scale, scale, 3).permute(4, 0, 2, 1, 3)
    return shuffled.reshape(3, height * scale, width * scale)


def _box_sums(image: Tensor, side: int) -> Tensor:
    """(H, W, C) to (H - side + 1, W - side + 1, C): the sum of each square neighbourhood."""
    height, width = (size - side + 1 for size in image.shape[:2])
    columns = sum((image[start : start + height] for start in range(1, side)), start=image[:height])
    return sum((columns[:, start : start + width] for start in range(1, side)), start=columns[:, :width])
