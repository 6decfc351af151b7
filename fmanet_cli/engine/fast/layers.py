"""The network's building blocks for streaming: two dimensions, channels last, 16 bit where that is enough.

Pictures are (N, C, H, W) tensors in the channels-last format. Each class takes the module of `fmanet_cli.model` that it
stands for, and gives the same results up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fmanet_cli.engine.memory import channels_laid_out
from fmanet_cli.engine.stopping import check
from fmanet_cli.model.activation import NEGATIVE_SLOPE
from fmanet_cli.model.attention import LAYER_NORM_EPSILON

WIDE_DIM = 64
"""From this many channels on, a dense block runs faster with its layers regrouped by source."""

NARROW_HEAD = 12
"""Heads of fewer channels cost less as one product of all channels, most of it unused, than one by one.

On CUDA all do: each product is a kernel start, and what it computes is little."""


HAS_WIDE_PRODUCTS = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 8)
"""Whether torch multiplies 16-bit matrices into float32 ones; on GPUs only."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where and in which precision the streaming network's tensors live."""

    device: torch.device
    dtype: torch.dtype
    strip_bytes: int
    """About how many bytes the widest tensor of a strip may have."""
    channel_multiple: int = 1
    """Numbers of channels are rounded up to a multiple of this, as the hardware wants them; what is added is zero."""
    dim: int = 0
    """The network's feature channels C, which hold those of `num_frames` frames and are rounded up for each of them."""
    num_frames: int = 1
    """Window length T."""
    fused: bool = False
    """Whether Triton kernels are used."""

    def width(self, channels: int) -> int:
        """How many channels a tensor has here instead of so many; the real ones come first."""
        frames = self.num_frames if channels == self.dim else 1
        return channels_laid_out(channels, frames, self.channel_multiple)

    def padded(self, picture: Tensor) -> Tensor:
        """(N, C, H, W) with C rounded up."""
        return _lengthened(picture, 1, self.width(picture.shape[1]))

    def weight(self, weight: Any, *, inputs: Sequence[int] | None = None, outputs: int | None = None) -> Tensor:
        """A convolution weight, one-frame kernels made two-dimensional, in this precision and channels last.

        Args:
            weight: (C', C, k, k) or (C', C, 1, k, k).
            inputs: how many channels each of the tensors has that are concatenated to its input; None = one tensor.
            outputs: channels out; None = C' rounded up.
        """
        return self._placed(weight, self.dtype, inputs, outputs)

    def wide(self, weight: Any) -> Tensor:
        """The same in float32, for optical flow; its outputs are not rounded up."""
        return self._placed(weight, torch.float32, None, weight.shape[0])

    def _placed(self, weight: Any, dtype: torch.dtype, inputs: Sequence[int] | None, outputs: int | None) -> Tensor:
        flat = weight.detach().squeeze(2) if weight.ndim == 5 else weight.detach()
        if flat.shape[1] > 1:
            parts = flat.split(list(inputs or flat.shape[1:2]), dim=1)
            flat = torch.cat([_lengthened(part, 1, self.width(part.shape[1])) for part in parts], dim=1)
        flat = _lengthened(flat, 0, outputs or self.width(len(flat)))
        return flat.to(self.device, dtype).contiguous(memory_format=torch.channels_last)

    def vector(self, values: Any) -> Tensor:
        """A parameter that is no convolution weight."""
        return _lengthened(values.detach(), 0, self.width(len(values))).to(self.device, self.dtype)

    def rows(self, width: int, channels: int) -> int:
        """How many rows a strip has whose widest tensor has `channels` channels; `width` of all pictures together."""
        return max(8, self.strip_bytes // (width * channels * self.dtype.itemsize))


def _lengthened(values: Tensor, axis: int, length: int) -> Tensor:
    """With zeros at the end of an axis."""
    missing = length - values.shape[axis]
    return F.pad(values, (0, 0) * (values.ndim - 1 - axis) + (0, missing)) if missing else values


@dataclass(frozen=True, slots=True)
class Strip:
    """Some rows of a picture and the rows around them that a local computation reads."""

    start: int
    """First row of the result."""
    stop: int
    """Last row of the result, plus one."""
    top: int
    """First row to read."""
    bottom: int
    """Last row to read, plus one."""
    edges: tuple[bool, bool]
    """Whether the rows read begin and end at the picture's edge, where convolutions pad with zeros."""

    def near(self, picture: Tensor) -> Tensor:
        """The rows to read."""
        return picture[:, :, self.top : self.bottom]

    def own(self, picture: Tensor) -> Tensor:
        """The rows of the result."""
        return picture[:, :, self.start : self.stop]

    def conv(self, rows: Tensor, weight: Tensor, *, groups: int = 1) -> Tensor:
        """A convolution of rows read; its margin is used up at each side but the picture's edges."""
        margin = weight.shape[-1] // 2
        if rows.device.type == "cpu" and any(self.edges) and not all(self.edges) and margin:
            # Here arithmetic is dearer than a copy.
            rows = F.pad(rows, (0, 0, margin * self.edges[0], margin * self.edges[1]))
            return convolved(rows, weight, padding=(0, margin), groups=groups)
        if not any(self.edges):
            return convolved(rows, weight, padding=(0, margin), groups=groups)
        # At an inner side some rows too many are computed, which costs less than a copy with zeros at the outer side.
        result = convolved(rows, weight, padding=margin, groups=groups)
        return result[:, :, 0 if self.edges[0] else margin : None if self.edges[1] else result.shape[2] - margin]


def strips(height: int, rows: int, halo: int) -> Iterator[Strip]:
    """Cuts `height` rows into about equal strips of at most `rows` rows, each with `halo` rows around it."""
    count = max(1, -(-height // rows))
    borders = [round(index * height / count) for index in range(count + 1)]
    for start, stop in pairwise(borders):
        check()
        top, bottom = max(0, start - halo), min(height, stop + halo)
        yield Strip(start, stop, top, bottom, (top == 0, bottom == height))


def convolved(rows: Tensor, weight: Tensor, bias: Tensor | None = None, **options: Any) -> Tensor:
    """`conv2d`; on Metal, which computes parts of larger tensors wrongly, of a copy where `rows` is such a part."""
    if needs_whole_inputs(rows.device):
        rows = whole(rows)
    return F.conv2d(rows, weight, bias, **options)


def needs_whole_inputs(device: torch.device) -> bool:
    """Whether a device's convolutions need inputs that begin where their memory does and leave no gaps."""
    return device.type == "mps"


def whole(rows: Tensor) -> Tensor:
    """The same values, channels last, in memory of their own if they were a part of other memory."""
    if rows.storage_offset() == 0 and rows.is_contiguous(memory_format=torch.channels_last):
        return rows
    return rows.clone(memory_format=torch.channels_last)


def conv(picture: Tensor, weight: Tensor) -> Tensor:
    """A convolution that keeps the size."""
    return convolved(picture, weight, padding=weight.shape[-1] // 2)


def activate(picture: Tensor) -> Tensor:
    """LeakyReLU in place."""
    return F.leaky_relu_(picture, NEGATIVE_SLOPE)


def pixels(picture: Tensor) -> Tensor:
    """(N, C, H, W), channels last, as (N * H * W, C): a view, through which the picture can be written.

    Raises:
        RuntimeError: another order of memory, which has no such view.
    """
    return picture.permute(0, 2, 3, 1).view(-1, picture.shape[1])


def picture_of(rows: Tensor, like: Tensor) -> Tensor:
    """(N * H * W, C) as (N, C, H, W), a view; sizes from `like`."""
    batch, _, height, width = like.shape
    return rows.view(batch, height, width, -1).permute(0, 3, 1, 2)


class DenseBlock:
    """A `ResidualDenseBlock`; with `bias_scale`, of inputs that are so many times as large, and so are its outputs."""

    def __init__(self, block: Any, layout: Layout, *, bias_scale: float = 1.0) -> None:
        growth, dim = block.layer[0].conv.weight.shape[:2]
        layers = [
            layout.weight(layer.conv.weight, inputs=[dim] + [growth] * index) for index, layer in enumerate(block.layer)
        ]
        fusion = layout.weight(block.conv.weight, inputs=[dim] + [growth] * len(layers))
        assert block.conv.bias is not None
        self._bias = layout.vector(block.conv.bias * bias_scale)
        self._fusion = fusion
        self._by_source, self._fused = dim >= WIDE_DIM, layout.fused
        if self._by_source:
            growth, dim = layout.width(growth), layout.width(dim)
            self._growth = growth
            sources = [slice(0, dim)] + [
                slice(dim + growth * index, dim + growth * (index + 1)) for index in range(len(layers) - 1)
            ]
            self._first, *self._later = [
                torch.cat([weight[:, source] for weight in layers[index:]]).contiguous(
                    memory_format=torch.channels_last
                )
                for index, source in enumerate(sources)
            ]
            matrix = fusion[:, :, 0, 0].t()
            self._fuse_input, self._fuse_layers = matrix[:dim], matrix[dim:].contiguous()
        else:
            self._layers = layers

    def __call__(self, picture: Tensor) -> Tensor:
        """(N, C, H, W), same shape out."""
        if self._by_source:
            return self._regrouped(picture)
        grown = picture
        for weight in self._layers:
            grown = torch.cat((grown, activate(conv(grown, weight))), dim=1)
        return convolved(grown, self._fusion, self._bias).add_(picture)

    def _regrouped(self, picture: Tensor) -> Tensor:
        """One wide convolution of the input for all layers, then each layer's part in the later ones."""
        if self._fused:
            return self._fused_regrouped(picture)
        growth = self._growth
        pending = conv(picture, self._first)
        outputs = []
        for weight in [*self._later, None]:
            output = activate(pending[:, :growth].contiguous(memory_format=torch.channels_last))
            outputs.append(output)
            if weight is not None:
                pending = conv(output, weight).add_(pending[:, growth:])
        result = torch.addmm(self._bias, pixels(picture), self._fuse_input)
        result.addmm_(pixels(torch.cat(outputs, dim=1)), self._fuse_layers)
        return picture_of(result, picture).add_(picture)

    def _fused_regrouped(self, picture: Tensor) -> Tensor:
        """The same with Triton's kernel, which writes each output where the fusion reads it, too."""
        growth, glue = self._growth, _glue()
        wide, pending = _dense(conv(picture, self._first)), None
        shape = len(picture), growth * (len(self._later) + 1), *picture.shape[2:]
        collected = torch.empty(shape, dtype=picture.dtype, device=picture.device, memory_format=torch.channels_last)
        for index, weight in enumerate([*self._later, None]):
            part = collected[:, growth * index : growth * (index + 1)]
            output = glue.grow(wide, pending, part, growth)
            if weight is not None:
                pending, wide = wide[:, growth:], _dense(conv(output, weight))
        result = torch.addmm(self._bias, pixels(picture), self._fuse_input)
        result.addmm_(pixels(collected), self._fuse_layers)
        return picture_of(result, picture).add_(picture)


def _dense(picture: Tensor) -> Tensor:
    """Channels last without gaps, as convolutions give it already."""
    return picture.contiguous(memory_format=torch.channels_last)


def _glue() -> ModuleType:
    """Imported where its kernels run: elsewhere not even Triton is."""
    from fmanet_cli.engine.fast import triton_glue

    return triton_glue


class DenseChain:
    """A `ResidualDenseChain`; the fusion of all outputs is summed on the way, never concatenated."""

    def __init__(self, chain: Any, layout: Layout) -> None:
        self._blocks = [DenseBlock(block, layout) for block in chain.RDBs]
        first, last = chain.conv
        fuse = layout.weight(first.weight, inputs=[len(first.weight)] * len(self._blocks))
        self._fuse = [part.t().contiguous() for part in fuse[:, :, 0, 0].split(len(fuse), dim=1)]
        self._last = layout.weight(last.weight)

    def __call__(self, picture: Tensor) -> Tensor:
        """(N, C, H, W), same shape out."""
        features, total = picture, None
        for block, matrix in zip(self._blocks, self._fuse, strict=True):
            features = block(features)
            total = pixels(features) @ matrix if total is None else total.addmm_(pixels(features), matrix)
        assert total is not None
        return conv(picture_of(total, picture), self._last).add_(picture)


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
                if self._layout.fused:
                    # A GPU sums 16-bit numbers in float32 without a copy of them.
                    for total, side in zip(squares[:, index], (query, key), strict=True):
                        length = torch.linalg.vector_norm(side, dim=0, dtype=torch.float32)
                        total.addcmul_(length, length)
                else:
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
        for picture, value, matrix in zip(image, values, matrices, strict=True):
            pixels(picture[None]).addmm_(pixels(value[None]), matrix.t())
        return image

    def _products(self, query: Tensor, key: Tensor) -> Tensor:
        """(pixels, C) each: every channel of a head with every channel of the same head, (C, C / heads) float32."""
        size = query.shape[1] // self._heads
        if size < NARROW_HEAD or query.device.type != "cpu":
            every = _wide_product(query.t(), key).view(self._heads, size, self._heads, size)
            return every.diagonal(dim1=0, dim2=2).permute(2, 0, 1).flatten(0, 1)
        return torch.cat([q.t() @ k for q, k in zip(query.split(size, dim=1), key.split(size, dim=1), strict=True)])


def _wide_product(left: Tensor, right: Tensor) -> Tensor:
    """A matrix product in float32, of 16-bit factors too where torch has that."""
    if left.dtype == torch.float32:
        return left @ right
    if HAS_WIDE_PRODUCTS:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


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
            update = convolved(self._gated(gate, content), self._project)
            strip.own(result).copy_(update.add_(strip.own(image)))
        return result

    def _gated(self, gate: Tensor, content: Tensor) -> Tensor:
        """Either may be overwritten."""
        is_dense = all(part.is_contiguous(memory_format=torch.channels_last) for part in (gate, content))
        if self._layout.fused and is_dense:
            return _glue().gated(gate, content)
        return F.gelu(gate).mul_(content)


class Norm:
    """A `ChannelNorm`."""

    def __init__(self, weight: Any, bias: Any, layout: Layout) -> None:
        self._weight, self._bias = (values.detach().to(layout.device, torch.float32) for values in (weight, bias))
        self._fused = layout.fused

    def __call__(self, image: Tensor) -> Tensor:
        """(B, C, H, W), same shape and dtype out; float32 in between, which a CPU also does faster than 16 bit."""
        _, channels, _, width = image.shape
        # Rows without gaps, as those of every picture here are.
        if self._fused and image.stride()[1:] == (1, width * channels, channels):
            return _glue().norm(image, self._weight, self._bias, LAYER_NORM_EPSILON)
        channels = len(self._weight)
        rows = image.permute(0, 2, 3, 1)[..., :channels].float()
        normed = F.layer_norm(rows, self._weight.shape, self._weight, self._bias, LAYER_NORM_EPSILON).to(image.dtype)
        return _lengthened(normed, 3, image.shape[1]).permute(0, 3, 1, 2)


class MultiAttention:
    """A `MultiAttentionBlock` of either network."""

    def __init__(self, block: Any, layout: Layout) -> None:
        norms = [block.norm1, block.norm2]
        pairs = [(block.co_attn, block.ffn1)]
        if block.degradation_aware:
            norms += [block.norm3, block.norm4]
            pairs.append((block.da_attn, block.ffn2))
        self._norms = [Norm(norm.body.weight, norm.body.bias, layout) for norm in norms]
        self._pairs = [(Attention(attention, layout), FeedForward(network, layout)) for attention, network in pairs]

    def __call__(self, image: Tensor, guides: list[Tensor]) -> Tensor:
        """`image` (overwritten) and each guide: (B, C, H, W)."""
        for index, ((attention, feed_forward), guide) in enumerate(zip(self._pairs, guides, strict=True)):
            image = attention.add_to(image, self._norms[2 * index], guide)
            image = feed_forward.add_to(image, self._norms[2 * index + 1])
        return image


def _halves(weight: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """The two halves of a convolution's output channels."""
    first, second = (layout.weight(half) for half in weight.detach().chunk(2))
    return first, second
