"""Whether a device runs the fused Triton kernels, and computes with them what the plain code does."""

from __future__ import annotations

import functools

import torch

from fmanet_cli.engine.device_errors import in_one_line, is_out_of_memory
from fmanet_cli.engine.fast.warping import upsample_into, upsample_source, warp_into
from fmanet_cli.model.config import IMAGE_CHANNELS

_LARGEST_ERROR = 0.01
"""Half a step of bfloat16 below 4 and some; what is no number is not below it either."""


def why_not_fused(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the Triton kernels cannot be used for features of this type on this device; None = they can."""
    if device.type != "cuda":
        return f"there are no fused kernels for {device.type}"
    return why_not(device, dtype)


@functools.cache
def why_not(device: torch.device, dtype: torch.dtype) -> str | None:
    """The same for any kind of device.

    Both kernels run on small images and are held against the plain code: Triton may be missing, the device too old,
    the machine without the C compiler that Triton starts kernels with, or the compiler wrong.
    """
    # Where they cannot run, not even Triton is imported.
    from fmanet_cli.engine.fast import triton_kernels

    if triton_kernels.triton is None:
        return "Triton is not installed (pip install triton)"
    try:
        errors = _warp_error(device, dtype), _upsample_error(device, dtype)
    except Exception as error:  # Whatever a compiler or driver reports, there is another way to compute this.
        if is_out_of_memory(error):
            raise
        return f"Triton does not work here ({in_one_line(error)})"
    if all(error <= _LARGEST_ERROR for error in errors):
        return None
    return f"Triton's kernels compute wrongly here (by {errors[0]:.2g} and {errors[1]:.2g})"


def _warp_error(device: torch.device, dtype: torch.dtype) -> float:
    generator = torch.Generator().manual_seed(1)
    features = (
        torch.rand(1, 8, 5, 7, generator=generator).to(device, dtype).contiguous(memory_format=torch.channels_last)
    )
    flow_masks = torch.randn(1, 6, 5, 7, generator=generator).to(device)
    found, expected = torch.empty_like(features), torch.empty_like(features)
    warp_into(found, features, flow_masks, fused=True)
    warp_into(expected, features, flow_masks)
    return float((found.float() - expected.float()).abs().max())


def _upsample_error(device: torch.device, dtype: torch.dtype) -> float:
    generator = torch.Generator().manual_seed(2)
    frames = torch.rand(3, IMAGE_CHANNELS, 5, 7, generator=generator).to(device)
    values = torch.randn(3, 16 * 9, 5, 7, generator=generator).mul(0.1).to(device, dtype)
    kernels = values.contiguous(memory_format=torch.channels_last).unflatten(1, (16, 9))
    residual = torch.rand(IMAGE_CHANNELS, 20, 28, generator=generator).to(device)
    found, expected = torch.empty_like(residual), torch.empty_like(residual)
    upsample_into(found, frames, kernels, first_row=0, residual=residual, fused=True)
    upsample_into(expected, upsample_source(frames, 9), kernels, first_row=0, residual=residual)
    return float((found - expected).abs().max())
