"""Channel attention against the paper's formula, head by head."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fmanet_cli.model.attention import ChannelAttention


def head_by_head(attention: ChannelAttention, image: Tensor, guide: Tensor) -> Tensor:
    query = attention.q_dwconv(attention.q(guide))
    key, value = attention.kv_dwconv(attention.kv_conv(image)).chunk(2, dim=1)
    queries, keys, values = (part.unflatten(1, (attention.num_heads, -1)).flatten(3) for part in (query, key, value))
    scores = F.normalize(queries, dim=-1) @ F.normalize(keys, dim=-1).mT
    mixed = (scores * attention.temperature).softmax(dim=-1) @ values
    return attention.project_out(mixed.flatten(1, 2).unflatten(2, image.shape[-2:]))


def attention_of(dim: int, heads: int) -> ChannelAttention:
    torch.manual_seed(3)
    attention = ChannelAttention(dim, heads).double()
    with torch.no_grad():
        attention.temperature.copy_(torch.linspace(0.5, 3.0, heads).view(-1, 1, 1))
    return attention


@pytest.mark.parametrize(("dim", "heads", "batch"), [(12, 4, 2), (6, 1, 1), (4, 4, 3)])
def test_attention_is_that_of_each_head(dim: int, heads: int, batch: int) -> None:
    attention = attention_of(dim, heads)
    image, guide = (torch.randn(batch, dim, 5, 7, dtype=torch.float64, requires_grad=True) for _ in range(2))
    learned = [image, guide, *attention.parameters()]
    expected, found = head_by_head(attention, image, guide), attention(image, guide)
    assert (found - expected).abs().max() < 1e-12
    direction = torch.randn_like(expected)
    sides = (torch.autograd.grad(result, learned, direction) for result in (found, expected))
    for mine, theirs in zip(*sides, strict=True):
        assert (mine - theirs).abs().max() < 1e-10


def test_channels_without_content_have_finite_gradients() -> None:
    attention = attention_of(6, 2)
    image = torch.zeros(1, 6, 4, 4, dtype=torch.float64, requires_grad=True)
    result = attention(image, image)
    assert torch.equal(result, torch.zeros_like(result))
    result.sum().backward()
    for parameter in (image, *attention.parameters()):
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
