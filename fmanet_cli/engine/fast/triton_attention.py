"""Triton kernels for channel attention: sums over all pixels, and from them the matrix that mixes channels."""

from __future__ import annotations

import torch
from torch import Tensor

from fmanet_cli.engine.fast.triton_kernels import is_observed, program

try:
    import triton
    from triton import language as tl
except ImportError:
    triton = None

PARTS = 64
"""At most so many programs add up the pixels of a head, and their sums are added last."""

LEAST_PIXELS = 1024
"""Pixels that one of them adds up, at least."""

BLOCK = 128
"""Pixels that a program reads at a time."""


def mixing_matrices(query: Tensor, key: Tensor, temperature: Tensor, project: Tensor, channels: int) -> Tensor:
    """What attention does to the values of each image: `values @ matrix` is its result.

    Args:
        query: (B, C', H, W), channels last, its pixels at equal distances; the first C channels are looked at.
        key: likewise.
        temperature: (heads) float32, factors of the scores.
        project: (C, C) float32, out and in, the last linear step of the attention.
        channels: C' of the result.

    Returns:
        (B, C', C'), in and out, in the dtype of `query`; zero from channel C on.
    """
    batch, _, height, width = query.shape
    heads, real = len(temperature), len(project)
    size = real // heads
    lanes = max(16, 1 << (size - 1).bit_length())
    pixels = height * width
    part = -(-max(LEAST_PIXELS, -(-pixels // PARTS)) // BLOCK) * BLOCK
    parts = -(-pixels // part)
    # Rows of products, then the squares of the queries and of the keys.
    sums = torch.empty((batch, heads, parts, lanes + 2, lanes), dtype=torch.float32, device=query.device)
    matrices = torch.empty((batch, channels, channels), dtype=query.dtype, device=query.device)
    if not is_observed((query, key), (sums,), multiply_adds=batch * pixels * real * size):
        with torch.cuda.device_of(query):
            _sum_program[(parts, heads, batch)](
                sums,
                query,
                key,
                pixels,
                part,
                query.stride(0),
                query.stride(3),
                key.stride(0),
                key.stride(3),
                parts,
                heads=heads,
                size=size,
                lanes=lanes,
                block=BLOCK,
                enable_fp_fusion=True,
            )
    if not is_observed((sums, temperature, project), (matrices,), multiply_adds=batch * real * real * size):
        with torch.cuda.device_of(query):
            _mix_program[(heads, batch)](
                matrices,
                sums,
                temperature,
                project,
                parts,
                heads=heads,
                size=size,
                lanes=lanes,
                real=real,
                channels=channels,
                outputs=triton.next_power_of_2(channels),
                enable_fp_fusion=True,
            )
    return matrices


@program
def _sum_program(  # type: ignore[no-untyped-def]
    sums,
    query,
    key,
    pixels,
    part,
    query_n,
    query_x,
    key_n,
    key_x,
    parts,
    heads: tl.constexpr,
    size: tl.constexpr,
    lanes: tl.constexpr,
    block: tl.constexpr,
):
    """One head's products and squares over `part` pixels."""
    image = tl.program_id(2).to(tl.int64)
    head = tl.program_id(1)
    first = tl.program_id(0).to(tl.int64) * part
    lane = tl.arange(0, lanes)
    query += image * query_n + head * size
    key += image * key_n + head * size
    products = tl.zeros((lanes, lanes), tl.float32)
    query_squares = tl.zeros((lanes,), tl.float32)
    key_squares = tl.zeros((lanes,), tl.float32)
    for start in range(0, part, block):
        pixel = first + start + tl.arange(0, block)
        known = (pixel < pixels)[:, None] & (lane < size)[None, :]
        left = tl.load(query + pixel[:, None] * query_x + lane[None, :], mask=known, other=0.0)
        right = tl.load(key + pixel[:, None] * key_x + lane[None, :], mask=known, other=0.0)
        products = tl.dot(tl.trans(left), right, products, input_precision="ieee")
        left = left.to(tl.float32)
        right = right.to(tl.float32)
        query_squares += tl.sum(left * left, 0)
        key_squares += tl.sum(right * right, 0)
    sums += ((image * heads + head) * parts + tl.program_id(0)) * (lanes + 2) * lanes
    tl.store(sums + lane[:, None] * lanes + lane[None, :], products)
    tl.store(sums + lanes * lanes + lane, query_squares)
    tl.store(sums + (lanes + 1) * lanes + lane, key_squares)


@program
def _mix_program(  # type: ignore[no-untyped-def]
    matrices,
    sums,
    temperature,
    project,
    parts,
    heads: tl.constexpr,
    size: tl.constexpr,
    lanes: tl.constexpr,
    real: tl.constexpr,
    channels: tl.constexpr,
    outputs: tl.constexpr,
):
    """The rows of one head's channels in the matrix of one image."""
    image = tl.program_id(1).to(tl.int64)
    head = tl.program_id(0)
    lane = tl.arange(0, lanes)
    sums += (image * heads + head) * parts * (lanes + 2) * lanes
    scores = tl.zeros((lanes, lanes), tl.float32)
    query_squares = tl.zeros((lanes,), tl.float32)
    key_squares = tl.zeros((lanes,), tl.float32)
    for _ in range(parts):
        scores += tl.load(sums + lane[:, None] * lanes + lane[None, :])
        query_squares += tl.load(sums + lanes * lanes + lane)
        key_squares += tl.load(sums + (lanes + 1) * lanes + lane)
        sums += (lanes + 2) * lanes
    scores /= tl.maximum(tl.sqrt(query_squares), 1e-12)[:, None]
    scores /= tl.maximum(tl.sqrt(key_squares), 1e-12)[None, :]
    scores *= tl.load(temperature + head)
    scores = tl.where((lane < size)[None, :], scores, -float("inf"))
    scores = tl.exp(scores - tl.max(scores, 1)[:, None])
    scores /= tl.sum(scores, 1)[:, None]

    output = tl.arange(0, outputs)
    used = (output < real)[:, None] & (lane < size)[None, :]
    factors = tl.load(project + output[:, None] * real + head * size + lane[None, :], mask=used, other=0.0)
    mixed = tl.trans(tl.dot(factors, scores, input_precision="ieee")).to(matrices.dtype.element_ty)
    matrices += image * channels * channels
    row = (head * size + lane)[:, None]
    column = output[None, :]
    tl.store(matrices + row * channels + column, mixed, mask=(lane < size)[:, None] & (column < channels))
    if head == heads - 1:
        # The channels that only fill up.
        row = (real + lane)[:, None]
        for _ in range((channels - real + lanes - 1) // lanes):
            empty = tl.zeros((lanes, outputs), matrices.dtype.element_ty)
            tl.store(matrices + row * channels + column, empty, mask=(row < channels) & (column < channels))
            row += lanes
