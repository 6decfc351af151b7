"""Occlusion-aware backward warping and flow-guided dynamic filtering (paper section 3.4, Eq. 5-7)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fmanet_cli.model.config import FLOW_MASK_CHANNELS


def at_least_float32(tensor: Tensor) -> Tensor:
    """16-bit tensors as float32, others as they are."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def backward_warp(images: Tensor, optical_flow: Tensor) -> Tensor:
    """Sample `images` bilinearly where the flow points; outside there is zero.

    Args:
        images: (N, C, H, W).
        optical_flow: (N, 2, H, W), in pixels, (x, y). The sampling grid is float32 (or float64) whatever the
            precision of the images: a float16 grid is 0.3 pixel off at width 1280.

    Returns:
        (N, C, H, W), at least float32.
    """
    flow = at_least_float32(optical_flow)
    height, width = flow.shape[-2:]
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype).view(1, height, 1)
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype).view(1, 1, width)
    x = (columns + flow[:, 0]) * (2 / max(width - 1, 1)) - 1
    y = (rows + flow[:, 1]) * (2 / max(height - 1, 1)) - 1
    with torch.autocast(flow.device.type, enabled=False):
        return F.grid_sample(
            images.to(flow.dtype),
            torch.stack((x, y), dim=-1),
            mode="bilinear",
            padding_mode="zeros",
            align_corners=True,
        )


def warp_features(features: Tensor, flow_masks: Tensor) -> Tensor:
    """Warp each group of channels with its own flow-mask pair (multi-flow-mask warping, paper Eq. 2).

    Args:
        features: (B, C, T, H, W); the C channels are n groups in a row.
        flow_masks: (B, 3n, T, H, W): per pair optical flow x, y in pixels and the occlusion logit.

    Returns:
        (B, C, T, H, W), in the dtype of `features`.
    """
    batch, channels, frames, height, width = features.shape
    pairs = flow_masks.shape[1] // FLOW_MASK_CHANNELS
    group = channels // pairs
    images = features.transpose(1, 2).reshape(batch * frames * pairs, group, height, width)
    flows = flow_masks.transpose(1, 2).reshape(batch * frames * pairs, FLOW_MASK_CHANNELS, height, width)
    warped = backward_warp(images, flows[:, :2]) * at_least_float32(flows[:, 2:]).sigmoid()
    return warped.to(features.dtype).view(batch, frames, channels, height, width).transpose(1, 2)


def warp_window(window: Tensor, flow_mask: Tensor) -> Tensor:
    """Warp every frame to the centre frame and multiply it by its occlusion mask.

    Args:
        window: (B, 3, T, H, W).
        flow_mask: (B, 3, T, H, W): optical flow x, y in pixels and the occlusion logit.

    Returns:
        (B, 3, T, H, W), at least float32.
    """
    batch, _, frames = window.shape[:3]
    flows = flow_mask.transpose(1, 2).flatten(0, 1)
    warped = backward_warp(window.transpose(1, 2).flatten(0, 1), flows[:, :2])
    masked = warped * at_least_float32(flows[:, 2:]).sigmoid()
    return masked.unflatten(0, (batch, frames)).transpose(1, 2)


def warp_sharp_window(sharp_window: Tensor, flow_mask: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """`warp_window` for high-resolution frames with a low-resolution flow-mask pair, as W(Y, s (f^Y up s)) in Eq. 7.

    The occlusion mask is taken at low resolution and then enlarged.

    Args:
        sharp_window: (B, 3, T, sH, sW).
        flow_mask: (B, 3, T, H, W), flow in low-resolution pixels.
        scale: s.

    Returns:
        The warped frames (B, 3, T, sH, sW) and their coverage (B, 1, T, sH, sW): an image of ones, warped and masked.
    """
    batch, channels, frames = sharp_window.shape[:3]
    flows = at_least_float32(flow_mask.transpose(1, 2).flatten(0, 1))
    fields = torch.cat((flows[:, :2] * scale, flows[:, 2:].sigmoid()), dim=1)
    large = F.interpolate(fields, scale_factor=scale, mode="bilinear", align_corners=False)
    images = sharp_window.transpose(1, 2).flatten(0, 1)
    with_ones = torch.cat((images, torch.ones_like(images[:, :1])), dim=1)
    warped = backward_warp(with_ones, large[:, :2]) * large[:, 2:]
    warped = warped.unflatten(0, (batch, frames)).transpose(1, 2)
    return warped[:, :channels], warped[:, channels:]


def dynamic_downsampling(sharp_window: Tensor, coverage: Tensor, kernel_logits: Tensor, scale: int) -> Tensor:
    """Rebuild the blurry low-resolution frame from warped sharp frames (paper Eq. 7).

    The kernels are positive and sum to one over all taps and frames; the sum is divided by the same sum over the
    coverage, so that occluded pixels do not darken the result.

    Args:
        sharp_window: (B, C, T, sH, sW), warped and masked.
        coverage: (B, 1, T, sH, sW).
        kernel_logits: (B, k * k, T, H, W).
        scale: s.

    Returns:
        (B, C, H, W), at least float32.
    """
    batch, taps, frames, height, width = kernel_logits.shape
    side = int(taps**0.5)
    margin = (side - scale) // 2
    logits = at_least_float32(kernel_logits)
    kernels = logits.transpose(1, 2).flatten(1, 2).softmax(dim=1).view(batch * frames, 1, taps, height * width)
    images = torch.cat((sharp_window, coverage), dim=1).transpose(1, 2).flatten(0, 1).to(kernels.dtype)
    patches = F.unfold(repeat_edges(images, margin), side, stride=scale)
    sums = (patches.unflatten(1, (-1, taps)) * kernels).sum(dim=2)
    sums = sums.view(batch, frames, -1, height, width).sum(dim=1)
    return sums[:, :-1] / (sums[:, -1:] + 1e-8)


def dynamic_upsampling(window: Tensor, kernel_values: Tensor, scale: int) -> Tensor:
    """Build the sharp high-resolution frame from warped blurry frames (flow-guided dynamic upsampling).

    The taps of every high-resolution pixel are shifted so that they sum to one over all frames; they may be negative.

    Args:
        window: (B, C, T, H, W), warped and masked.
        kernel_values: (B, s * s * k * k, T, H, W), the sub-pixel's row and column running slowest.
        scale: s.

    Returns:
        (B, C, sH, sW), at least float32.
    """
    batch, channels, frames, height, width = window.shape
    subpixels = scale * scale
    taps = kernel_values.shape[1] // subpixels
    side = int(taps**0.5)
    margin = side // 2
    pixels = (batch, frames, height, width)
    kernels = at_least_float32(kernel_values).permute(0, 2, 3, 4, 1).reshape(-1, subpixels, taps)
    images = window.transpose(1, 2).flatten(0, 1).to(kernels.dtype)
    # The channel of ones sums the kernels themselves.
    images = torch.cat((images, torch.ones_like(images[:, :1])), dim=1)
    patches = F.unfold(repeat_edges(images, margin), side).unflatten(1, (channels + 1, taps))
    patches = patches.permute(0, 3, 2, 1).reshape(-1, taps, channels + 1)
    with torch.autocast(window.device.type, enabled=False):
        sums = (kernels @ patches).view(*pixels, subpixels, channels + 1).sum(dim=1)
    # Shifting all taps of a pixel adds the sum of its neighbourhood, which is far smaller than the kernels.
    around = patches.view(*pixels, taps, channels + 1)[..., :channels].sum(dim=(1, 4)).unsqueeze(3)
    sharp = sums[..., :channels] + around * ((1 - sums[..., channels:]) / (taps * frames))
    sharp = sharp.unflatten(3, (scale, scale)).permute(0, 5, 1, 3, 2, 4)
    return sharp.reshape(batch, channels, scale * height, scale * width)


def repeat_edges(images: Tensor, margin: int) -> Tensor:
    """(N, C, H, W) to (N, C, H + 2 margin, W + 2 margin): replicate padding.

    The backward pass of `F.pad(mode="replicate")` returns another memory format than torch.compile expects.
    """
    top, bottom = images[..., :1, :], images[..., -1:, :]
    images = torch.cat((top.expand(-1, -1, margin, -1), images, bottom.expand(-1, -1, margin, -1)), dim=-2)
    left, right = images[..., :1], images[..., -1:]
    return torch.cat((left.expand(-1, -1, -1, margin), images, right.expand(-1, -1, -1, margin)), dim=-1)
