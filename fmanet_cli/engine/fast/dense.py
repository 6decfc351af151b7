"""Residual dense blocks and chains of them for streaming.

Each class takes the module of `fmanet_cli.model` that it stands for, and gives the same results up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fmanet_cli.engine.fast.layers import Layout, activate, conv, convolved, image_of, lengthened, pixels

if TYPE_CHECKING:
    from fmanet_cli.engine.fast.triton_fusion import Grown

WIDE_DIM = 64
"""From this many channels on, a dense block runs faster with its layers regrouped by source."""


class DenseBlock:
    """A `ResidualDenseBlock`; with `bias_scale`, of inputs that are so many times as large, and so are its outputs."""

    def __init__(
        self, block: Any, layout: Layout, *, bias_scale: float = 1.0, mixes: Sequence[Tensor] | None = None
    ) -> None:
        """`mixes`: a (C', C) matrix for each frame of a window, if only `mixed` is asked for."""
        self._growth, self._dim = block.layer[0].conv.weight.shape[:2]
        self._layout = layout
        layers = [layer.conv.weight.detach() for layer in block.layer]
        fusion, bias = block.conv.weight.detach()[:, :, 0, 0, 0], block.conv.bias.detach() * bias_scale
        if mixes is None:
            fusions = [fusion]
        else:
            skipping = fusion + F.pad(torch.eye(self._dim, device=fusion.device), (0, fusion.shape[1] - self._dim))
            fusions, bias = [mix @ skipping for mix in mixes], sum(mix @ bias for mix in mixes)
        self._bias, self._wide_bias = layout.vector(bias), layout.vector(bias).float()
        self._by_source = self._dim >= WIDE_DIM
        if self._by_source:
            self._first, *self._later = [layout.weight(part) for part in _by_source(layers, self._growth, self._dim)]
            self._fusions = [self._matrix(part) for part in fusions]
        else:
            inputs = [self._dim, *[self._growth] * len(layers)]
            self._layers = [layout.weight(weight, inputs=inputs[: 1 + index]) for index, weight in enumerate(layers)]
            self._fusions = [layout.weight(part[:, :, None, None], inputs=inputs) for part in fusions]

    def _matrix(self, fusion: Tensor) -> Tensor:
        """(C', C + L * growth) to (C + L * growth, C'), with the block's input and its output rounded up."""
        width = self._layout.width(self._dim)
        rows = lengthened(fusion, 0, self._layout.width(len(fusion))).t()
        rows = torch.cat((lengthened(rows[: self._dim], 0, width), rows[self._dim :]))
        return rows.contiguous().to(self._layout.device, self._layout.dtype)

    def __call__(self, image: Tensor) -> Tensor:
        """(N, C, H, W), same shape out."""
        (fusion,) = self._fusions
        if not self._by_source:
            return convolved(self._grown(image), fusion, self._bias).add_(image)
        if self._layout.fused:
            result = torch.empty_like(image)
            grown = self._fused_layers(image)
            _fuser().fuse_into(result, image, grown, fusion, self._wide_bias, add=image)
            return result
        width = image.shape[1]
        rows = torch.addmm(self._bias, pixels(image), fusion[:width])
        rows.addmm_(pixels(self._layers_by_source(image)), fusion[width:])
        return image_of(rows, image).add_(image)

    def mixed(self, images: Tensor, windows: int) -> Tensor:
        """What the block gives for (T * B, C, H, W), mixed by each frame's matrix and added up: (B, C', H, W)."""
        frames = images.split(windows)
        if self._by_source and self._layout.fused:
            return self._fused_mixed(images, windows)
        total: Tensor | None = None
        # Frame after frame, what lies between the block's layers stays in a processor's cache.
        for frame, fusion in zip(frames, self._fusions, strict=True):
            if self._by_source:
                width = frame.shape[1]
                total = self._added(total, frame, fusion[:width])
                total = self._added(total, self._layers_by_source(frame), fusion[width:])
            else:
                total = self._added(total, self._grown(frame), fusion[:, :, 0, 0].t())
        assert total is not None
        return image_of(total, frames[0])

    def _added(self, total: Tensor | None, image: Tensor, matrix: Tensor) -> Tensor:
        if total is None:
            return torch.addmm(self._bias, pixels(image), matrix)
        return total.addmm_(pixels(image), matrix)

    def _fused_mixed(self, images: Tensor, windows: int) -> Tensor:
        from fmanet_cli.engine.fast.triton_fusion import Grown

        result = torch.empty_like(images[:windows])
        at_once = self._layout.frames_at_once(result)
        bias: Tensor | None = self._wide_bias
        for first in range(0, len(self._fusions), at_once):
            some = images[first * windows : (first + at_once) * windows]
            grown = self._fused_layers(some)
            for index, fusion in enumerate(self._fusions[first : first + at_once]):
                mine = slice(index * windows, (index + 1) * windows)
                pending = None if grown.pending is None else grown.pending[mine]
                part = Grown(grown.collected[mine], grown.wide[mine], pending, grown.growth)
                add = result if bias is None else None
                _fuser().fuse_into(result, some[mine], part, fusion, bias, add=add)
                bias = None
            # They would stay while the next frames' are made.
            del grown, part, pending
        return result

    def _grown(self, image: Tensor) -> Tensor:
        """The input and all layers."""
        grown = image
        for weight in self._layers:
            grown = torch.cat((grown, activate(conv(grown, weight))), dim=1)
        return grown

    def _layers_by_source(self, image: Tensor) -> Tensor:
        """All layers: one wide convolution of the input for all of them, then each layer's part in the later ones."""
        growth, padded = self._growth, self._layout.width(self._growth)
        remaining = growth * (len(self._later) + 1)
        pending = conv(image, self._first)
        outputs = []
        for weight in [*self._later, None]:
            output = activate(pending[:, :growth].contiguous(memory_format=torch.channels_last))
            outputs.append(output)
            if weight is not None:
                added = pending[:, growth:remaining]
                remaining -= growth
                pending = conv(lengthened(output, 1, padded), weight)
                pending[:, :remaining].add_(added)
        return torch.cat(outputs, dim=1)

    def _fused_layers(self, image: Tensor) -> Grown:
        """The same with Triton's kernel, which writes each output where the fusion reads it, too."""
        from fmanet_cli.engine.fast.triton_fusion import Grown

        growth, glue = self._growth, _glue()
        remaining = growth * (len(self._later) + 1)
        wide, pending = _dense(conv(image, self._first)), None
        shape = len(image), remaining - growth, *image.shape[2:]
        collected = torch.empty(shape, dtype=image.dtype, device=image.device, memory_format=torch.channels_last)
        for index, weight in enumerate(self._later):
            part = collected[:, growth * index : growth * (index + 1)]
            output = glue.grow(wide, pending, part, remaining=remaining, padded=weight.shape[1])
            remaining -= growth
            pending, wide = wide[:, growth:], _dense(conv(output, weight))
        return Grown(collected, wide, pending, growth)


def _by_source(layers: Sequence[Tensor], growth: int, dim: int) -> list[Tensor]:
    """Weights (growth, C + i * growth, 1, 3, 3) as one for each source, whose outputs are all layers that read it."""
    sources = [slice(0, dim), *(slice(dim + growth * i, dim + growth * (i + 1)) for i in range(len(layers) - 1))]
    return [torch.cat([weight[:, source] for weight in layers[index:]]) for index, source in enumerate(sources)]


def _dense(image: Tensor) -> Tensor:
    """Channels last without gaps, as convolutions give it already."""
    return image.contiguous(memory_format=torch.channels_last)


def _glue() -> ModuleType:
    """Imported where its kernels run: elsewhere not even Triton is."""
    from fmanet_cli.engine.fast import triton_glue

    return triton_glue


def _fuser() -> ModuleType:
    from fmanet_cli.engine.fast import triton_fusion

    return triton_fusion


class DenseChain:
    """A `ResidualDenseChain`; the fusion of all outputs is summed on the way, never concatenated."""

    def __init__(self, chain: Any, layout: Layout) -> None:
        self._blocks = [DenseBlock(block, layout) for block in chain.RDBs]
        first, last = chain.conv
        fuse = layout.weight(first.weight, inputs=[len(first.weight)] * len(self._blocks))
        self._fuse = [part.t().contiguous() for part in fuse[:, :, 0, 0].split(len(fuse), dim=1)]
        self._last = layout.weight(last.weight)

    def __call__(self, image: Tensor) -> Tensor:
        """(N, C, H, W), same shape out."""
        features, total = image, None
        for block, matrix in zip(self._blocks, self._fuse, strict=True):
            features = block(features)
            total = pixels(features) @ matrix if total is None else total.addmm_(pixels(features), matrix)
        assert total is not None
        return conv(image_of(total, image), self._last).add_(image)
