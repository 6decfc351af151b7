"""Degradation kernels read without being written: the same values and gradients, for less arithmetic."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor

from fmanet_cli.bench.multiply_adds import count_multiply_adds
from fmanet_cli.model.kernel_reading import DegradationKernels
from fmanet_cli.model.layers import FrameConv, WindowConv

WRITTEN_CHANNELS = 36


def kernels_and_reader(
    size: tuple[int, int, int], *, channels: int = 4, dtype: torch.dtype = torch.float64
) -> tuple[DegradationKernels, WindowConv]:
    generator = torch.Generator().manual_seed(1)
    conv = FrameConv(channels, WRITTEN_CHANNELS).to(dtype)
    reader = WindowConv(WRITTEN_CHANNELS, 5).to(dtype)
    with torch.no_grad():
        for weight in (conv.weight, reader.weight):
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=dtype) / weight[0].numel() ** 0.5)
    hidden = torch.randn(2, channels, *size, generator=generator, dtype=dtype, requires_grad=True)
    return DegradationKernels(hidden, conv), reader


def read(kernels: DegradationKernels, reader: WindowConv, *, folded: bool) -> Tensor:
    kernels.conv.folded = reader.folded = folded
    return kernels.read_by(reader)


@pytest.mark.parametrize("size", [(3, 8, 6), (5, 4, 4), (1, 3, 7), (3, 1, 5), (3, 5, 1), (3, 2, 2), (1, 1, 1)])
def test_kernels_read_in_one_are_those_written_and_read(size: tuple[int, int, int]) -> None:
    kernels, reader = kernels_and_reader(size)
    learned = [kernels.hidden, kernels.conv.weight, reader.weight]
    expected, found = (read(kernels, reader, folded=folded) for folded in (False, True))
    assert (found - expected).abs().max() < 1e-12
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2), dtype=expected.dtype)
    sides = (torch.autograd.grad(result, learned, direction) for result in (found, expected))
    for theirs, ours in zip(*sides, strict=True):
        assert (theirs - ours).abs().max() < 1e-12


def test_reading_in_one_takes_less_than_half_of_the_arithmetic() -> None:
    kernels, reader = kernels_and_reader((3, 32, 32), channels=6, dtype=torch.float32)
    plain, joined = (
        count_multiply_adds(functools.partial(read, kernels, reader, folded=folded)) for folded in (False, True)
    )
    assert joined < plain / 2
