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

from fmanet_cli.engine.fast import triton_attention as attention
from fmanet_cli.engine.fast import triton_filters as filters
from fmanet_cli.engine.fast import triton_fusion as fusion
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
        yield f"filter {dtype}", _filter(dtype, gated=False)
        yield f"filter gated {dtype}", _filter(dtype, gated=True)
        yield f"flow {dtype}", _flow(dtype)
        yield f"shuffle {dtype}", _shuffle(dtype)
        yield f"fuse {dtype}", _fuse(dtype, has_pending=True)
        yield f"attention {dtype}", _attention(dtype, heads=2, size=5, height=5, width=7)
    yield "fuse two layers fp16", _fuse("fp16", has_pending=False)
    # More pixels than one program adds up; heads as published.
    yield "attention published fp16", _attention("fp16", heads=6, size=15, height=33, width=37)
    yield "network fp32", _network
    yield "network wide fp32", _wide_network


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _image(
    count: int, channels: int, height: int, width: int, *, dtype: str, device: torch.device, seed: int
) -> Tensor:
    """Channels last."""
    image = _random(count, height, width, channels, seed=seed).to(device, DTYPES[dtype])
    return image.permute(0, 3, 1, 2)


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
    """Some rows of two images whose last channels are rounding."""

    def difference(device: torch.device) -> float:
        whole = _random(2, 6, 5, 16, seed=6).to(device, DTYPES[dtype]).permute(0, 3, 1, 2)
        image, weight, bias = whole[:, :, 1:5], _random(11, seed=7).to(device), _random(11, seed=8).to(device)
        found = glue.norm(image, weight, bias, 1e-5)
        rows = image[:, :11].permute(0, 2, 3, 1).double()
        expected = torch.nn.functional.layer_norm(rows, (11,), weight.double(), bias.double(), 1e-5)
        return max(largest(found[:, :11], expected.permute(0, 3, 1, 2)), largest(found[:, 11:], 0 * found[:, 11:]))

    return difference


def _grow(dtype: str) -> Case:
    """A layer of 3 channels, rounded up to 4, in the middle of a block; and a first one, without sums."""

    def difference(device: torch.device) -> float:
        before, wide = (_image(2, size, 3, 5, dtype=dtype, device=device, seed=size) for size in (13, 8))
        collected = _image(2, 10, 3, 5, dtype=dtype, device=device, seed=1).fill_(7)
        expected = wide[:, :6].double() + before[:, 6:12].double()
        active = torch.nn.functional.leaky_relu(expected[:, :3], glue.NEGATIVE_SLOPE)
        left = wide[:, 6:].clone()
        found = glue.grow(wide, before[:, 6:], collected[:, 3:6], remaining=6, padded=4)
        assert (collected[:, :3] == 7).all()
        assert (collected[:, 6:] == 7).all()
        assert torch.equal(wide[:, 6:], left)
        same = largest(collected[:, 3:6], found[:, :3])
        first = torch.nn.functional.leaky_relu(wide[:, :3].double(), glue.NEGATIVE_SLOPE)
        alone = glue.grow(wide, None, collected[:, :3], remaining=6, padded=4)
        sums = max(largest(wide[:, 3:6], expected[:, 3:]), largest(alone[:, :3], first), same)
        return max(largest(found[:, :3], active), largest(found[:, 3:], torch.zeros(1)), sums)

    return difference


def _filter(dtype: str, *, gated: bool) -> Case:
    """Some rows of two images, from their first, from the middle and to their last row."""

    def difference(device: torch.device) -> float:
        rows = _image(2, 10, 7, 9, dtype=dtype, device=device, seed=9)
        weight = _random(9, 10, seed=10).mul(0.3).to(device)
        taps = weight.t().view(10, 1, 3, 3).double().cpu()
        whole = torch.nn.functional.conv2d(rows.double().cpu(), taps, padding=1, groups=10)
        if gated:
            whole = torch.nn.functional.gelu(whole[:, :5]) * whole[:, 5:]
        found = _image(2, whole.shape[1], 7, 9, dtype=dtype, device=device, seed=1)
        for first, last in ((0, 2), (2, 6), (6, 7)):
            top, bottom = max(0, first - 1), min(7, last + 1)
            filters.filter_into(
                found[:, :, first:last], rows[:, :, top:bottom], weight, first_row=first - top, gated=gated
            )
        return largest(found, whole)

    return difference


def _flow(dtype: str) -> Case:
    def difference(device: torch.device) -> float:
        hidden, guided = (_image(count, 8, 3, 5, dtype=dtype, device=device, seed=count) for count in (6, 2))
        sums = (hidden.double().unflatten(0, (3, 2)) + guided.double()).flatten(0, 1)[:, :7]
        return largest(glue.flow_hidden(hidden, guided, 7), torch.nn.functional.leaky_relu(sums, glue.NEGATIVE_SLOPE))

    return difference


def _shuffle(dtype: str) -> Case:
    def difference(device: torch.device) -> float:
        image = _image(2, 21, 3, 4, dtype=dtype, device=device, seed=3)
        by_channel = image[:, :20].double().unflatten(1, (4, 5)).transpose(1, 2).flatten(1, 2)
        expected = torch.nn.functional.pixel_shuffle(by_channel, 2)
        found = glue.shuffled(image, 5, 8)
        active = torch.nn.functional.leaky_relu(expected, glue.NEGATIVE_SLOPE)
        return max(largest(found[:, :5], active), largest(found[:, 5:], torch.zeros(1)))

    return difference


def _fuse(dtype: str, *, has_pending: bool) -> Case:
    """With a bias and the input added, then added to what is there."""

    def difference(device: torch.device) -> float:
        sizes = {"image": 40, "collected": 10, "wide": 6, "pending": 9}
        given = {name: _image(2, size, 5, 7, dtype=dtype, device=device, seed=size) for name, size in sizes.items()}
        pending = given["pending"][:, 2:] if has_pending else None
        grown = fusion.Grown(given["collected"], given["wide"], pending, 5)
        matrix = _random(40 + 10 + 5, 40, seed=11).mul(0.1).to(device, DTYPES[dtype])
        bias = _random(40, seed=12).to(device)
        last = given["wide"][:, :5].double() + (0 if pending is None else pending[:, :5].double())
        last = torch.nn.functional.leaky_relu(last, glue.NEGATIVE_SLOPE).to(DTYPES[dtype])
        inputs = torch.cat((given["image"], given["collected"], last), dim=1).double()
        product = (inputs.permute(0, 2, 3, 1) @ matrix.double()).permute(0, 3, 1, 2)
        found = torch.empty_like(given["image"])
        fusion.fuse_into(found, given["image"], grown, matrix, bias, add=given["image"])
        once = largest(found, product + bias.double()[:, None, None] + given["image"].double())
        before = found.clone()
        fusion.fuse_into(found, given["image"], grown, matrix, None, add=found)
        return max(once, largest(found, product + before.double()))

    return difference


def _attention(dtype: str, *, heads: int, size: int, height: int, width: int) -> Case:
    """Queries and keys as halves of wider tensors; channels rounded up."""

    def difference(device: torch.device) -> float:
        real = heads * size
        channels = -(-real // 8) * 8 + 40
        query = _image(2, channels, height, width, dtype=dtype, device=device, seed=13)
        both = _image(2, 2 * channels, height, width, dtype=dtype, device=device, seed=14)
        temperature, project = _random(heads, seed=15).to(device), _random(real, real, seed=16).mul(0.2).to(device)
        found = attention.mixing_matrices(query, both[:, :channels], temperature, project, channels)
        left, right = (
            torch.nn.functional.normalize(part[:, :real].double().flatten(2).unflatten(1, (heads, size)), dim=-1)
            for part in (query, both)
        )
        weights = (left @ right.transpose(-2, -1) * temperature.double()[:, None, None]).softmax(-1)
        expected = project.double().unflatten(1, (heads, size)).transpose(0, 1) @ weights
        expected = expected.transpose(1, 2).flatten(2).transpose(1, 2)
        whole = torch.nn.functional.pad(expected, (0, channels - real, 0, channels - real))
        return largest(found, whole)

    return difference


def _far_flow(device: torch.device) -> float:
    """Numbers that are no flow at all give the zero outside the image."""
    flow_masks = torch.zeros(1, 3, 2, 4, device=device)
    flow_masks[0, 0, 0] = torch.tensor([1e30, -1e30, math.inf, -math.inf])
    flow_masks[0, 1, 1] = torch.tensor([1e30, -1e30, 3e9, math.nan])
    target = torch.full((1, 1, 2, 4), 7.0, device=device)
    kernels.warp_into(target, torch.ones(1, 1, 2, 4, device=device), flow_masks)
    return largest(target, torch.zeros(1, 1, 2, 4))


def _whole_pixels(device: torch.device) -> float:
    """One pixel to the right and half a pixel up; the image ends in zero; the mask halves."""
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
