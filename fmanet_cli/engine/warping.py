"""Multi-flow occlusion-aware warping and dynamic upsampling for streaming, in bounded memory."""

from __future__ import annotations

import math
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional as F

from fmanet_cli.model.config import FLOW_MASK_CHANNELS
from fmanet_cli.model.filtering import backward_warp


def warp_into(target: Tensor, features: Tensor, flow_masks: Tensor) -> None:
    """Warps groups of channels with their own flow-mask pairs and writes the result where it is needed.

    Args:
        target: (N, C, H, W), any strides, any dtype; overwritten.
        features: (N, C, H, W).
        flow_masks: (N, 3n, H, W) float32: per pair flow x, flow y in pixels and the occlusion logit.
    """
    fused = fused_kernels(target.device)
    if fused is not None:
        fused.warp_into(target, features, flow_masks)
        return
    pairs = flow_masks.shape[1] // FLOW_MASK_CHANNELS
    for out, picture, fields in zip(target, features, flow_masks, strict=True):
        groups = picture.float().contiguous().unflatten(0, (pairs, -1))
        flows = fields.unflatten(0, (pairs, FLOW_MASK_CHANNELS))
        warped = backward_warp(groups, flows[:, :2]).mul_(flows[:, 2:].sigmoid())
        out.copy_(warped.flatten(0, 1))


def warp_source(features: Tensor) -> Tensor:
    """`features` as `warp_into` reads them fastest, for several warps of the same features."""
    return features if fused_kernels(features.device) else features.float().contiguous()


def upsample_into(target: Tensor, frames: Tensor, kernels: Tensor, *, first_row: int, residual: Tensor) -> None:
    """Flow-guided dynamic upsampling of some rows, plus a residual.

    Args:
        target: (3, s * h, s * W) float32, any strides; overwritten.
        frames: (T, 3, H, W) float32, warped and masked.
        kernels: (T, s * s, k * k, h, W).
        first_row: row of the frames that the kernels' first row belongs to.
        residual: like `target`, and may be it.
    """
    fused = fused_kernels(target.device)
    if fused is not None:
        fused.dynamic_upsample_into(target, frames, kernels, first_row=first_row, residual=residual)
        return
    _, subpixels, taps, rows, _ = kernels.shape
    patches = patches_of(frames, math.isqrt(taps), first_row, first_row + rows)
    torch.add(dynamic_upsample_strip(patches, kernels.flatten(1, 2), math.isqrt(subpixels)), residual, out=target)


def fused_kernels(device: torch.device) -> ModuleType | None:
    """The Triton kernels where they run; elsewhere Triton is not even imported."""
    if device.type != "cuda":
        return None
    from fmanet_cli.engine import kernels

    return kernels if kernels.available(device) else None


def dynamic_upsample_strip(patches: Tensor, kernels: Tensor, scale: int) -> Tensor:
    """Weighs the patches of some rows with their restoration kernels.

    The kernels' taps are not shifted to a sum of one: since the sum is linear, the shift is added as the patches' sum
    times the missing weight.

    Args:
        patches: (T, 3, taps, h, W) float32, warped low-resolution pixels around each pixel.
        kernels: (T, s * s * taps, h, W), channels last.
        scale: s.

    Returns:
        (3, s * h, s * W) float32.
    """
    frames, channels, taps, height, width = patches.shape
    subpixels = scale * scale
    # One plain batch of small products: batched products of strided matrices run one by one on a CPU.
    weights = kernels.unflatten(1, (subpixels, taps)).permute(3, 4, 1, 0, 2).reshape(-1, subpixels, frames * taps)
    values = patches.permute(3, 4, 0, 2, 1).reshape(-1, frames * taps, channels)
    # Taps that sum to one leave a constant alone, so the centre pixel is taken out first: 16-bit products of small
    # differences keep what 16-bit products of the pixels themselves would lose.
    centre = values[:, frames * taps // 2].unsqueeze(1)
    values = values - centre
    missing = 1 / (frames * taps) - weights.mean(dim=2, dtype=torch.float32)
    result = torch.bmm(weights, values.to(weights.dtype)).float()
    result += missing[..., None] * values.sum(dim=1)[:, None] + centre
    shuffled = result.view(height, width, scale, scale, channels).permute(4, 0, 2, 1, 3)
    return shuffled.reshape(channels, height * scale, width * scale)


def patches_of(frames: Tensor, side: int, top: int, bottom: int) -> Tensor:
    """Square neighbourhoods of the pixels of some rows, the picture continued by its edge pixels.

    Args:
        frames: (T, 3, H, W) float32.
        side: neighbourhood side, odd.
        top: first row.
        bottom: last row, plus one.

    Returns:
        (T, 3, side * side, bottom - top, W).
    """
    margin = side // 2
    padded = F.pad(frames, (margin,) * 4, mode="replicate")[:, :, top : bottom + 2 * margin]
    count, channels, height, width = padded.shape
    return F.unfold(padded, side).view(count, channels, side * side, height - 2 * margin, width - 2 * margin)
