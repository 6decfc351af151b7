"""Whether a device runs the fused Triton kernels, and computes with them what the plain code does."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch

from fmanet_cli.engine.device_errors import in_one_line, is_out_of_memory
from fmanet_cli.engine.fast.dense import WIDE_DIM, DenseBlock
from fmanet_cli.engine.fast.head import RestorationHead
from fmanet_cli.engine.fast.layers import Layout, strips
from fmanet_cli.engine.fast.multi_attention import MultiAttention
from fmanet_cli.engine.fast.refinement import GuidedFlowConvs
from fmanet_cli.engine.fast.warping import upsample_into, upsample_source, warp_into
from fmanet_cli.engine.memory import CHANNEL_MULTIPLE
from fmanet_cli.model.attention import MultiAttentionBlock
from fmanet_cli.model.config import IMAGE_CHANNELS, FMANetConfig
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.model.layers import FlowHead, ResidualDenseBlock

_SMALL = FMANetConfig(
    dim=WIDE_DIM + 2,
    num_rdbs=1,
    growth=5,
    num_dense_layers=3,
    num_flows=2,
    num_frma_blocks=1,
    num_attention_blocks=1,
    num_heads=6,
    ffn_expansion=0.5,
    degradation_kernel_size=4,
    restoration_kernel_size=1,
    residual_dim=6,
)
"""A network that uses every kernel and is made in a moment."""


def _largest_error(dtype: torch.dtype) -> float:
    """What rounding explains, of numbers that reach 4 and some; float32 convolutions may round to TF32."""
    return max(0.005, 10 * torch.finfo(dtype).eps)


def why_not_fused(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the Triton kernels cannot be used for features of this type on this device; None = they can."""
    if device.type != "cuda":
        return f"there are no fused kernels for {device.type}"
    return why_not(device, dtype)


@functools.cache
def why_not(device: torch.device, dtype: torch.dtype) -> str | None:
    """The same for any kind of device.

    Every kernel runs on small images of this type and is held against the plain code: Triton may be missing, the device
    too old, the machine without the C compiler that Triton starts kernels with, or the compiler wrong.
    """
    # Where they cannot run, not even Triton is imported.
    from fmanet_cli.engine.fast import triton_kernels

    if triton_kernels.triton is None:
        return "Triton is not installed (pip install triton)"
    try:
        errors = {name: check(device, dtype) for name, check in _CHECKS.items()}
    except Exception as error:  # Whatever a compiler or driver reports, there is another way to compute this.
        if is_out_of_memory(error):
            raise
        return f"Triton does not work here ({in_one_line(error)})"
    # What is no number is not below it either.
    wrong = [f"{name} by {error:.2g}" for name, error in errors.items() if not error <= _largest_error(dtype)]
    return f"Triton's kernels compute wrongly here ({', '.join(wrong)})" if wrong else None


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


def _layouts(device: torch.device, dtype: torch.dtype) -> list[Layout]:
    """Of small networks, with the kernels and without."""
    multiple = 1 if dtype == torch.float32 else CHANNEL_MULTIPLE
    return [Layout(device, dtype, 1 << 20, multiple, _SMALL.dim, fused=fused) for fused in (True, False)]


def _image(layout: Layout, seed: int) -> torch.Tensor:
    image = torch.randn(1, _SMALL.dim, 5, 7, generator=torch.Generator().manual_seed(seed))
    return layout.padded(image.to(layout.device, layout.dtype)).contiguous(memory_format=torch.channels_last)


def _difference(found: Sequence[torch.Tensor]) -> float:
    return float((found[0].float() - found[1].float()).abs().max())


@torch.inference_mode()
def _dense_error(device: torch.device, dtype: torch.dtype) -> float:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        block = ResidualDenseBlock(_SMALL.dim, _SMALL.growth, _SMALL.num_dense_layers)
    return _difference([DenseBlock(block, layout)(_image(layout, 4)) for layout in _layouts(device, dtype)])


@torch.inference_mode()
def _attention_error(device: torch.device, dtype: torch.dtype) -> float:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        block = MultiAttentionBlock(_SMALL, degradation_aware=False)
    return _difference(
        [MultiAttention(block, layout)(_image(layout, 6), [_image(layout, 7)]) for layout in _layouts(device, dtype)]
    )


@torch.inference_mode()
def _flow_error(device: torch.device, dtype: torch.dtype) -> float:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        head = FlowHead(2 * _SMALL.dim, 6, 6)
    found = []
    for layout in _layouts(device, dtype):
        convs = GuidedFlowConvs(head, layout, _SMALL.dim)
        found.append(convs(_image(layout, 9), convs.guided(_image(layout, 10))))
    return _difference(found)


@torch.inference_mode()
def _residual_error(device: torch.device, dtype: torch.dtype) -> float:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = FMANet(_SMALL)
    found = []
    for layout in _layouts(device, dtype):
        target = torch.empty(IMAGE_CHANNELS, 4 * 5, 4 * 7, device=device)
        RestorationHead(model, layout).residual_into(target, _image(layout, 12), next(strips(5, 5, 3)))
        found.append(target)
    return _difference(found)


_CHECKS: dict[str, Callable[[torch.device, torch.dtype], float]] = {
    "warping": _warp_error,
    "upsampling": _upsample_error,
    "dense blocks": _dense_error,
    "attention": _attention_error,
    "optical flow": _flow_error,
    "the residual": _residual_error,
}
