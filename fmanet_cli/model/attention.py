"""Channel attention guided by the centre frame and by the degradation, with its gated feed-forward network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmanet_cli.model.config import FMANetConfig
from fmanet_cli.model.filtering import at_least_float32

LAYER_NORM_EPSILON = 1e-5

SMALLEST_LENGTH = 1e-12
"""Shorter channels are not made longer than this share of one."""


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of every pixel, with scale and shift, in at least float32."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W), same shape and memory format out."""
        return self.body(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ChannelAttention(nn.Module):
    """Transposed attention: channels attend to channels, with scores summed over all pixels of the image.

    The queries come from a guide: the centre frame's initial features (centre-oriented attention) or the degradation
    features (degradation-aware attention), paper section 3.2. Because the scores see the whole image, a tile does
    not give exactly what the whole frame gives.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.q = nn.Conv2d(dim, dim, 1, bias=False)
        self.q_dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False)
        self.kv_conv = nn.Conv2d(dim, 2 * dim, 1, bias=False)
        self.kv_dwconv = nn.Conv2d(2 * dim, 2 * dim, 3, padding=1, groups=2 * dim, bias=False)
        self.project_out = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(self, image: Tensor, guide: Tensor) -> Tensor:
        """`image` (normalised) and `guide`: (B, C, H, W); the result has the same shape."""
        query = self.q_dwconv(self.q(guide))
        key, value = self.kv_dwconv(self.kv_conv(image)).chunk(2, dim=1)
        with torch.autocast(image.device.type, enabled=False):
            attention = self._attention(at_least_float32(torch.cat((query, key), dim=1)))
            # Values are mixed and projected by one matrix for each image.
            mixing = self.project_out.weight.flatten(1).to(attention.dtype) @ attention
        mixed = _pixels(value) @ mixing.mT.to(value.dtype)
        return mixed.unflatten(1, image.shape[-2:]).permute(0, 3, 1, 2)

    def _attention(self, both: Tensor) -> Tensor:
        """Queries and keys, (B, 2C, H, W), to attention between all channels, (B, C, C), zero between heads.

        One product of all channels with one another is dense: it costs less than those of the heads. Its diagonal
        holds the lengths.
        """
        channels = both.shape[1] // 2
        rows = _pixels(both)
        products = rows.mT @ rows
        lengths = products.diagonal(dim1=1, dim2=2).clamp_min(SMALLEST_LENGTH**2).sqrt()
        scores = products[:, :channels, channels:] / (lengths[:, :channels, None] * lengths[:, None, channels:])
        head = torch.arange(channels, device=both.device) // (channels // self.num_heads)
        scores = scores * self.temperature.flatten().repeat_interleave(channels // self.num_heads)[:, None]
        return scores.masked_fill(head[:, None] != head, float("-inf")).softmax(dim=-1)


def _pixels(image: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H * W, C), a view if the image is channels last."""
    return image.permute(0, 2, 3, 1).flatten(1, 2)


class GatedFeedForward(nn.Module):
    """GDFN: two depth-wise filtered branches, one gating the other."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.project_in = nn.Conv2d(dim, 2 * hidden, 1, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, dim, 1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W), same shape out."""
        gate, content = self.dwconv(self.project_in(image)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * content)


class MultiAttentionBlock(nn.Module):
    """Centre-oriented attention and feed-forward; in Net^R then degradation-aware attention and feed-forward."""

    def __init__(self, config: FMANetConfig, *, degradation_aware: bool) -> None:
        super().__init__()
        self.degradation_aware = degradation_aware
        self.norm1 = ChannelNorm(config.dim)
        self.co_attn = ChannelAttention(config.dim, config.num_heads)
        self.norm2 = ChannelNorm(config.dim)
        self.ffn1 = GatedFeedForward(config.dim, config.ffn_hidden)
        if degradation_aware:
            self.norm3 = ChannelNorm(config.dim)
            self.da_attn = ChannelAttention(config.dim, config.num_heads)
            self.norm4 = ChannelNorm(config.dim)
            self.ffn2 = GatedFeedForward(config.dim, config.ffn_hidden)

    def forward(self, image: Tensor, centre: Tensor, degradation: Tensor | None) -> Tensor:
        """All (B, C, H, W); `degradation` is needed by Net^R only."""
        image = image + self.co_attn(self.norm1(image), centre)
        image = image + self.ffn1(self.norm2(image))
        if degradation is not None:
            image = image + self.da_attn(self.norm3(image), degradation)
            image = image + self.ffn2(self.norm4(image))
        return image
