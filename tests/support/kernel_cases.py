"""The fused kernels against the plain code in float64, on any device; as a program, in Triton's interpreter.

Prints one JSON object: the largest difference of each case; for 8 bits, the share of values that differ. Triton chooses
the interpreter while it is imported, so the cases run in a process of their own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from fmanet_cli.engine.fast import triton_glue as glue
from fmanet_cli.engine.fast import triton_kernels as kernels
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.engine.runner import ReferenceRunner
from fmanet_cli.model.config import FMANetConfig
from fmanet_cli.model.filtering import dynamic_upsampling, warp_features
from fmanet_cli.model.fmanet import random_model

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
SMALL = FMANetConfig(
    dim=12,
    num_rdbs=1,
    growth=4,
    num_dense_layers=2,
    num_flows=2,
    num_frma_blocks=2,
    num_attention_blocks=1,
    num_heads=2,
    ffn_expansion=1.5,
    degradation_kernel_size=6,
    restoration_kernel_size=3,
)
WIDE = FMANetConfig(
    dim=66,
    num_rdbs=1,
    growth=5,
    num_dense_layers=2,
    num_flows=2,
    num_frma_blocks=1,
    num_attention_blocks=1,
    num_heads=6,
    ffn_expansion=1.5,
    degradation_kernel_size=6,
    restoration_kernel_size=3,
)

Case = Callable[[torch.device], float]


def cases() -> Iterator[tuple[str, Case]]:
    """Every case with its name; the name's first word is the kernel, the last the dtype of the data."""
    for dtype in DTYPES:
        # 10 channels a pair as published.
        yield f"warp published groups {dtype}", _warp(dtype, channels=30, pairs=3, height=5, width=7)
        yield f"upsample published {dtype}", _upsample(dtype, height=3, width=5)
    # 6 channels a pair, as in lite.
    yield "warp lite groups fp16", _warp("fp16", channels=24, pairs=4, height=5, width=6)
    yield "upsample reordered fp16", _upsample("fp16", height=2, width=9, tap_slowest=True)
    yield "upsample strips fp16", _upsample("fp16", height=6, width=5, side=3, rows=(0, 2, 3, 6))
    yield "upsample rounded fp32", _upsample("fp32", height=4, width=5, side=3, rounded=True)
    yield "warp frames fp32", _warp("fp32", channels=3, pairs=1, height=3, width=90)
    yield "warp planes fp32", _warp("fp32", channels=8, pairs=2, height=3, width=7, planes=True)
    yield "warp widened fp16", _warp("fp16", channels=8, pairs=2, height=3, width=7, planes=True, wide=True)
    yield "warp column fp32", _warp("fp32", channels=4, pairs=2, height=5, width=1)
    yield "warp pixel fp32", _warp("fp32", channels=3, pairs=1, height=1, width=1)
    yield "upsample pixel fp32", _upsample("fp32", height=1, width=1)
    yield "upsample five frames fp32", _upsample("fp32", height=3, width=4, side=3, num_frames=5)
    yield "upsample wide fp32", _upsample("fp32", height=2, width=kernels.UPSAMPLE_BLOCK + 3, side=3)
    yield "upsample without residual fp32", _upsample("fp32", height=3, width=4, side=3, residual=False)
    yield "upsample clamped fp32", _upsample("fp32", height=3, width=4, side=3, clamp=True)
    yield "far flow fp32", _far_flow
    yield "whole pixels fp32", _whole_pixels
    for dtype in ("fp32", "fp16"):
        yield f"norm {dtype}", _norm(dtype)
        yield f"grow {dtype}", _grow(dtype)
        yield f"gate {dtype}", _gate(dtype)
    yield "network fp32", _network
    yield "network wide fp32", _wide_network


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _warp(
    dtype: str, *, channels: int, pairs: int, height: int, width: int, planes: bool = False, wide: bool = False
) -> Case:
    def difference(device: torch.device) -> float:
        features = _random(2, channels, height, width, seed=1).to(device, torch.float32 if wide else DTYPES[dtype])
        flow_masks = _random(2, 3 * pairs, height, width, seed=2).mul(3).to(device)
        if not planes:
            features = features.contiguous(memory_format=torch.channels_last)
            flow_masks = flow_masks.contiguous(memory_format=torch.channels_last)
        joined = torch.full((2, height, width, channels + 5), 7, dtype=DTYPES[dtype], device=device).permute(0, 3, 1, 2)
        kernels.warp_into(joined[:, 2:-3], features, flow_masks)
        assert (joined[:, :2] == 7).all()
        assert (joined[:, -3:] == 7).all()
        expected = warp_features(features.double().unsqueeze(2), flow_masks.double().unsqueeze(2)).squeeze(2)
        return largest(joined[:, 2:-3], expected)

    return difference


def _upsample(
    dtype: str,
    *,
    height: int,
    width: int,
    side: int = 5,
    num_frames: int = 3,
    rows: tuple[int, ...] = (),
    tap_slowest: bool = False,
    residual: bool = True,
    clamp: bool = False,
    rounded: bool = False,
) -> Case:
    taps = side * side

    def difference(device: torch.device) -> float:
        frames = _random(num_frames, 3, height, width, seed=3).mul(0.2).add(0.5).to(device)
        values = _random(num_frames, 16 * taps, height, width, seed=4).mul(0.3).to(device, DTYPES[dtype])
        values = values.contiguous(memory_format=torch.channels_last)
        own_order = values.unflatten(1, (taps, 16)).transpose(1, 2) if tap_slowest else values.unflatten(1, (16, taps))
        added = _random(3, 4 * height, 4 * width, seed=5).mul(0.1).to(device, DTYPES[dtype])
        expected = dynamic_upsampling(
            frames.double().transpose(0, 1)[None], own_order.flatten(1, 2).double().transpose(0, 1)[None], 4
        )[0]
        expected = expected + added.double() if residual else expected
        expected = expected.clamp(0, 1) if clamp or rounded else expected
        target = torch.empty(expected.shape, dtype=torch.uint8 if rounded else torch.float32, device=device)
        edges = rows or (0, height)
        for start, stop in pairwise(edges):
            large = slice(4 * start, 4 * stop)
            kernels.dynamic_upsample_into(
                target[:, large],
                frames,
                own_order[..., start:stop, :],
                first_row=start,
                residual=added[:, large] if residual else None,
                clamp=clamp,
            )
        if rounded:
            return (target != (expected * 255).round()).double().mean().item()
        return largest(target, expected)

    return difference


def _norm(dtype: str) -> Case:
    """Some rows of two pictures whose last channels are rounding."""

    def difference(device: torch.device) -> float:
        whole = _random(2, 6, 5, 16, seed=6).to(device, DTYPES[dtype]).permute(0, 3, 1, 2)
        picture, weight, bias = whole[:, :, 1:5], _random(11, seed=7).to(device), _random(11, seed=8).to(device)
        found = glue.norm(picture, weight, bias, 1e-5)
        rows = picture[:, :11].permute(0, 2, 3, 1).double()
        expected = torch.nn.functional.layer_norm(rows, (11,), weight.double(), bias.double(), 1e-5)
        return max(largest(found[:, :11], expected.permute(0, 3, 1, 2)), largest(found[:, 11:], 0 * found[:, 11:]))

    return difference


def _grow(dtype: str) -> Case:
    def difference(device: torch.device) -> float:
        before, wide = (_random(2, 3, 5, size, seed=size).to(device, DTYPES[dtype]) for size in (20, 12))
        before, wide = before.permute(0, 3, 1, 2), wide.permute(0, 3, 1, 2)
        collected = torch.full((2, 3, 5, 12), 7, dtype=DTYPES[dtype], device=device).permute(0, 3, 1, 2)
        expected = wide.double() + before[:, 8:].double()
        found = glue.grow(wide, before[:, 8:], collected[:, 4:8], 4)
        same = largest(collected[:, 4:8], found)
        assert (collected[:, :4] == 7).all()
        assert (collected[:, 8:] == 7).all()
        active = torch.nn.functional.leaky_relu(expected[:, :4], glue.NEGATIVE_SLOPE)
        alone = glue.grow(wide[:, :4].contiguous(memory_format=torch.channels_last), None, collected[:, :4], 4)
        first = torch.nn.functional.leaky_relu(wide[:, :4].double(), glue.NEGATIVE_SLOPE)
        return max(same, largest(found, active), largest(wide[:, 4:], expected[:, 4:]), largest(alone, first))

    return difference


def _gate(dtype: str) -> Case:
    def difference(device: torch.device) -> float:
        gate, content = (_random(2, 5, 7, 9, seed=seed).to(device, DTYPES[dtype]) for seed in (9, 10))
        gate, content = gate.permute(0, 3, 1, 2), content.permute(0, 3, 1, 2)
        expected = torch.nn.functional.gelu(gate.double()) * content.double()
        return largest(glue.gated(gate, content), expected)

    return difference


def _far_flow(device: torch.device) -> float:
    """Numbers that are no flow at all give the zero outside the picture."""
    flow_masks = torch.zeros(1, 3, 2, 4, device=device)
    flow_masks[0, 0, 0] = torch.tensor([1e30, -1e30, math.inf, -math.inf])
    flow_masks[0, 1, 1] = torch.tensor([1e30, -1e30, 3e9, math.nan])
    target = torch.full((1, 1, 2, 4), 7.0, device=device)
    kernels.warp_into(target, torch.ones(1, 1, 2, 4, device=device), flow_masks)
    return largest(target, torch.zeros(1, 1, 2, 4))


def _whole_pixels(device: torch.device) -> float:
    """One pixel to the right and half a pixel up; the picture ends in zero; the mask halves."""
    flow_masks = torch.zeros(1, 6, 2, 3, device=device)
    flow_masks[0, 0] = 1
    flow_masks[0, 4] = -0.5
    features = torch.tensor([[1.0, 2, 3], [4, 5, 6]], device=device).expand(1, 2, 2, 3)
    target = torch.empty(1, 2, 2, 3, device=device)
    kernels.warp_into(target, features, flow_masks)
    expected = torch.tensor([[[1.0, 1.5, 0], [2.5, 3, 0]], [[0.25, 0.5, 0.75], [1.25, 1.75, 2.25]]])
    return largest(target[0], expected)


def _network(device: torch.device) -> float:
    """The streaming network with fused kernels in strips against the plain network."""
    return _network_difference(device, SMALL, height=7, width=6, strip_bytes=4000, channel_multiple=None)


def _wide_network(device: torch.device) -> float:
    """Wide enough for dense blocks that are grouped by source, with channels rounded up."""
    return _network_difference(device, WIDE, height=3, width=4, strip_bytes=None, channel_multiple=8)


def _network_difference(
    device: torch.device,
    config: FMANetConfig,
    *,
    height: int,
    width: int,
    strip_bytes: int | None,
    channel_multiple: int | None,
) -> float:
    model = random_model(config, seed=1)
    frames = torch.rand(3, 3, height, width, generator=torch.Generator().manual_seed(6))
    plain = ReferenceRunner(model, device=torch.device("cpu"), precision="fp32")
    expected = plain.window([plain.frame_state(frame) for frame in frames])
    runner = StreamingRunner(
        model, device=device, precision="fp32", strip_bytes=strip_bytes, channel_multiple=channel_multiple, fused=True
    )
    found = runner.window([runner.frame_state(frame.to(device)) for frame in frames])
    return largest(found, expected)


def largest(found: Tensor, expected: Tensor) -> float:
    """The largest difference; infinite if there is no number."""
    difference = (found.double().cpu() - expected.double().cpu()).abs().max().item()
    return difference if math.isfinite(difference) else math.inf


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({name: case(torch.device("cpu")) for name, case in cases()}))  # noqa: T201
