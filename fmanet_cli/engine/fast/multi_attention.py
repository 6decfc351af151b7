"""Attention by each guide in turn, with the plain parts or, where they run, the fused ones."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fmanet_cli.engine.fast.attention import Attention, FeedForward, Norm
from fmanet_cli.engine.fast.layers import Layout


class MultiAttention:
    """A `MultiAttentionBlock` of either network."""

    def __init__(self, block: Any, layout: Layout) -> None:
        attend, feed = _kinds(layout)
        norms = [block.norm1, block.norm2]
        pairs = [(block.co_attn, block.ffn1)]
        if block.degradation_aware:
            norms += [block.norm3, block.norm4]
            pairs.append((block.da_attn, block.ffn2))
        self._norms = [Norm(norm.body.weight, norm.body.bias, layout) for norm in norms]
        self._pairs = [(attend(attention, layout), feed(network, layout)) for attention, network in pairs]

    def __call__(self, image: Tensor, guides: list[Tensor]) -> Tensor:
        """`image` (overwritten) and each guide: (B, C, H, W)."""
        for index, ((attention, feed_forward), guide) in enumerate(zip(self._pairs, guides, strict=True)):
            image = attention.add_to(image, self._norms[2 * index], guide)
            image = feed_forward.add_to(image, self._norms[2 * index + 1])
        return image


def _kinds(layout: Layout) -> tuple[Any, Any]:
    """The classes of attention and feed-forward network; Triton is imported only where it runs."""
    if not layout.fused:
        return Attention, FeedForward
    from fmanet_cli.engine.fast import fused_attention

    return fused_attention.FusedAttention, fused_attention.FusedFeedForward
