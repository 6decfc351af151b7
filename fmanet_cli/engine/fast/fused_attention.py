"""Multi-attention with Triton's kernels: few starts, and nothing stored that the next one does not read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fmanet_cli.engine.fast.attention import Norm
from fmanet_cli.engine.fast.layers import Layout, convolved, strips
from fmanet_cli.engine.fast.triton_attention import mixing_matrices
from fmanet_cli.engine.fast.triton_filters import filter_into
from fmanet_cli.engine.fast.triton_glue import norm as fused_norm
from fmanet_cli.model.attention import LAYER_NORM_EPSILON


class FusedAttention:
    """A `ChannelAttention`."""

    def __init__(self, attention: Any, layout: Layout) -> None:
        self._layout = layout
        self._temperature = attention.temperature.detach().flatten().to(layout.device, torch.float32)
        self._query, self._query_filter = _filtered(attention.q, attention.q_dwconv, layout)
        self._both, self._filters = _filtered(attention.kv_conv, attention.kv_dwconv, layout, parts=2)
        self._project = attention.project_out.weight.detach()[:, :, 0, 0].to(layout.device, torch.float32).contiguous()

    def add_to(self, image: Tensor, norm: Norm, guide: Tensor) -> Tensor:
        """`image` + attention(norm(`image`), `guide`), all (B, C, H, W); `image` is overwritten."""
        channels = image.shape[1]
        query = self._filtered_rows(guide, self._query, self._query_filter)
        both = self._filtered_rows(_normed(image, norm), self._both, self._filters)
        matrices = mixing_matrices(query, both[:, :channels], self._temperature, self._project, channels)
        _image_rows(image).baddbmm_(_image_rows(both)[..., channels:], matrices)
        return image

    def _filtered_rows(self, image: Tensor, weight: Tensor, filters: Tensor) -> Tensor:
        batch, _, height, width = image.shape
        channels = len(weight)
        result = torch.empty(
            (batch, channels, height, width),
            dtype=image.dtype,
            device=image.device,
            memory_format=torch.channels_last,
        )
        for strip in strips(height, self._layout.rows(width * batch, 2 * channels), 1):
            hidden = convolved(strip.near(image), weight)
            filter_into(strip.own(result), hidden, filters, first_row=strip.start - strip.top)
        return result


class FusedFeedForward:
    """A `GatedFeedForward`."""

    def __init__(self, network: Any, layout: Layout) -> None:
        self._layout = layout
        self._both, self._filters = _filtered(network.project_in, network.dwconv, layout, parts=2)
        self._project = layout.weight(network.project_out.weight)[:, :, 0, 0].t().contiguous()

    def add_to(self, image: Tensor, norm: Norm) -> Tensor:
        """`image` + feed_forward(norm(`image`)), (B, C, H, W); `image` is overwritten."""
        normed = _normed(image, norm)
        batch, _, height, width = image.shape
        hidden_channels = len(self._both)
        for strip in strips(height, self._layout.rows(width * batch, 2 * hidden_channels), 1):
            hidden = convolved(strip.near(normed), self._both)
            gated = torch.empty(
                (batch, hidden_channels // 2, strip.stop - strip.start, width),
                dtype=image.dtype,
                device=image.device,
                memory_format=torch.channels_last,
            )
            filter_into(gated, hidden, self._filters, first_row=strip.start - strip.top, gated=True)
            rows = _image_rows(strip.own(image))
            rows.baddbmm_(_image_rows(gated), self._project.expand(batch, -1, -1))
        return image


def _normed(image: Tensor, norm: Norm) -> Tensor:
    return fused_norm(image, norm.weight, norm.bias, LAYER_NORM_EPSILON)


def _image_rows(image: Tensor) -> Tensor:
    """(B, C, H, W), channels last, as (B, H * W, C): a view, through which the image can be written."""
    batch, channels = image.shape[:2]
    return image.permute(0, 2, 3, 1).view(batch, -1, channels)


def _filtered(point: Any, taps: Any, layout: Layout, *, parts: int = 1) -> tuple[Tensor, Tensor]:
    """A 1x1 convolution's weight and the taps, (9, C) float32, of the depth-wise one behind it.

    Each of `parts` equal parts of the channels between them is rounded up.
    """
    weight = torch.cat([layout.weight(part) for part in point.weight.detach().chunk(parts)])
    rounded = [layout.wide_taps(part) for part in taps.weight.detach().chunk(parts)]
    return weight.contiguous(memory_format=torch.channels_last), torch.cat(rounded, dim=1).contiguous()
