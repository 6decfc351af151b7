"""Multi-attention for streaming, in strips.

Each class takes the module of `fmanet_cli.model` that it stands for, and gives the same results up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fmanet_cli.engine.fast.layers import Layout, convolved, lengthened, pixels, strips
from fmanet_cli.model.attention import LAYER_NORM_EPSILON

NARROW_HEAD = 12
"""Heads of fewer channels cost less as one product of all channels, most of it unused, than one by one.

On CUDA all do: each product is a kernel start, and what it computes is little."""


class Attention:
    """A `ChannelAttention` in strips: the scores are sums over pixels, gathered strip by strip."""

    def __init__(self, attention: Any, layout: Layout) -> None:
        self._layout = layout
        self._heads = attention.num_heads
        self._temperature = attention.temperature.detach().to(layout.device, torch.float32)
        self._channels = attention.q.weight.shape[0]
        self._query = layout.weight(attention.q.weight)
        self._query_filter = layout.weight(attention.q_dwconv.weight)
        # Keys and values apart: halves of one tensor's channels would be slow to walk through.
        self._key, self._value = _halves(attention.kv_conv.weight, layout)
        self._key_filter, self._value_filter = _halves(attention.kv_dwconv.weight, layout)
        self._project = attention.project_out.weight.detach()[:, :, 0, 0].to(layout.device, torch.float32)

    def add_to(self, image: Tensor, norm: Norm, guide: Tensor) -> Tensor:
        """`image` + attention(norm(`image`), `guide`), all (B, C, H, W); `image` is overwritten."""
        batch, channels, height, width = image.shape
        real = self._channels
        values = torch.empty_like(image)
        scores = torch.zeros(batch, real, real // self._heads, device=image.device)
        squares = torch.zeros(2, batch, real, device=image.device)
        for strip in strips(height, self._layout.rows(width * batch, 4 * channels), 1):
            guided = strip.conv(convolved(strip.near(guide), self._query), self._query_filter, groups=channels)
            normed = norm(strip.near(image))
            keys = strip.conv(convolved(normed, self._key), self._key_filter, groups=channels)
            strip.own(values).copy_(strip.conv(convolved(normed, self._value), self._value_filter, groups=channels))
            for index in range(batch):
                query, key = (pixels(part[index : index + 1])[:, :real] for part in (guided, keys))
                query, key = query.float(), key.float()
                squares[0, index] += query.square().sum(0)
                squares[1, index] += key.square().sum(0)
                scores[index] += self._products(query, key)
        lengths = squares.sqrt().clamp_min(1e-12).unflatten(2, (self._heads, -1))
        weights = scores.unflatten(1, (self._heads, -1)) / lengths[0][..., None] / lengths[1][..., None, :]
        weights = (weights * self._temperature).softmax(-1)
        project = self._project.unflatten(1, (self._heads, -1)).transpose(0, 1)
        matrices = (project @ weights).transpose(1, 2).flatten(2).to(image.dtype)
        matrices = F.pad(matrices, (0, channels - real, 0, channels - real))
        for one, value, matrix in zip(image, values, matrices, strict=True):
            pixels(one[None]).addmm_(pixels(value[None]), matrix.t())
        return image

    def _products(self, query: Tensor, key: Tensor) -> Tensor:
        """(pixels, C) each: every channel of a head with every channel of the same head, (C, C / heads) float32."""
        size = query.shape[1] // self._heads
        if size < NARROW_HEAD or query.device.type != "cpu":
            every = (query.t() @ key).view(self._heads, size, self._heads, size)
            return every.diagonal(dim1=0, dim2=2).permute(2, 0, 1).flatten(0, 1)
        return torch.cat([q.t() @ k for q, k in zip(query.split(size, dim=1), key.split(size, dim=1), strict=True)])


class FeedForward:
    """A `GatedFeedForward` in strips."""

    def __init__(self, network: Any, layout: Layout) -> None:
        self._layout = layout
        self._gate, self._content = _halves(network.project_in.weight, layout)
        self._gate_filter, self._content_filter = _halves(network.dwconv.weight, layout)
        self._project = layout.weight(network.project_out.weight)

    def add_to(self, image: Tensor, norm: Norm) -> Tensor:
        """`image` + feed_forward(norm(`image`)), (B, C, H, W), in a new tensor."""
        result = torch.empty_like(image)
        hidden = self._gate.shape[0]
        for strip in strips(image.shape[2], self._layout.rows(image.shape[3] * len(image), 4 * hidden), 1):
            normed = norm(strip.near(image))
            gate = strip.conv(convolved(normed, self._gate), self._gate_filter, groups=hidden)
            content = strip.conv(convolved(normed, self._content), self._content_filter, groups=hidden)
            update = convolved(F.gelu(gate).mul_(content), self._project)
            strip.own(result).copy_(update.add_(strip.own(image)))
        return result


class Norm:
    """A `ChannelNorm`."""

    def __init__(self, weight: Any, bias: Any, layout: Layout) -> None:
        self.weight, self.bias = (values.detach().to(layout.device, torch.float32) for values in (weight, bias))

    def __call__(self, image: Tensor) -> Tensor:
        """(B, C, H, W), same shape and dtype out; float32 in between, which a CPU also does faster than 16 bit."""
        channels = len(self.weight)
        rows = image.permute(0, 2, 3, 1)[..., :channels].float()
        normed = F.layer_norm(rows, self.weight.shape, self.weight, self.bias, LAYER_NORM_EPSILON).to(image.dtype)
        return lengthened(normed, 3, image.shape[1]).permute(0, 3, 1, 2)


def _halves(weight: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """The two halves of a convolution's output channels."""
    first, second = (layout.weight(half) for half in weight.detach().chunk(2))
    return first, second
