"""The activation of the network, and joins of channels, with gradients that cost little memory traffic.

All of them have the values and gradients of the plain functions, bit for bit. Two things differ. What is kept for the
backward pass is the result, which the next convolution keeps anyway: a compiler that is free to choose keeps a mask
of booleans beside it, and packing and unpacking those takes a third of a training step on a CPU. And gradients of
joined channels are copied into dense tensors: kernels are many times slower on slices of interleaved channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NEGATIVE_SLOPE = 0.2


class Activation(nn.Module):
    """Leaky ReLU, the activation of every convolution stack of the network."""

    def forward(self, features: Tensor) -> Tensor:
        """Any shape, same shape out."""
        return _Activate.apply(features)


def append_activated(features: Tensor, new: Tensor) -> Tensor:
    """(N, C, ...) features and (N, G, ...) convolved ones to (N, C + G, ...), the new channels activated."""
    return _AppendActivated.apply(features, new)


def join_channels(*parts: Tensor) -> Tensor:
    """Several (N, C_i, ...) tensors to one with all of their channels."""
    return _JoinChannels.apply(*parts)


class _Activate(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, features: Tensor) -> Tensor:
        result = F.leaky_relu(features, NEGATIVE_SLOPE)
        context.save_for_backward(result)
        return result

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (result,) = context.saved_tensors
        return _activate_backward(_dense(gradient), result)


class _AppendActivated(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, features: Tensor, new: Tensor) -> Tensor:
        result = torch.cat((features, F.leaky_relu(new, NEGATIVE_SLOPE)), dim=1)
        context.save_for_backward(result)
        context.channels, context.dtypes = features.shape[1], (features.dtype, new.dtype)
        return result

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        (result,) = context.saved_tensors
        old, new = (slice(None), slice(context.channels)), (slice(None), slice(context.channels, None))
        of_new = _activate_backward(_dense(gradient[new]), result[new])
        return _dense(gradient[old]).to(context.dtypes[0]), of_new.to(context.dtypes[1])


class _JoinChannels(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, *parts: Tensor) -> Tensor:
        context.parts = [(part.shape[1], part.dtype) for part in parts]
        return torch.cat(parts, dim=1)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        pieces = gradient.split([channels for channels, _ in context.parts], dim=1)
        dtypes = [dtype for _, dtype in context.parts]
        return tuple(
            _dense(piece).to(dtype) if needed else None
            for piece, dtype, needed in zip(pieces, dtypes, context.needs_input_grad, strict=True)
        )


def _activate_backward(gradient: Tensor, result: Tensor) -> Tensor:
    return torch.ops.aten.leaky_relu_backward(gradient, result, NEGATIVE_SLOPE, True)


def _dense(gradient: Tensor) -> Tensor:
    """The gradient without gaps, channels last where its channels are the fastest dimension."""
    if gradient.stride(1) != 1 or gradient.ndim not in _CHANNELS_LAST:
        return gradient.contiguous()
    return gradient.contiguous(memory_format=_CHANNELS_LAST[gradient.ndim])


_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
