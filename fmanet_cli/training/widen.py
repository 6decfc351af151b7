"""Grows a network exactly: a wider one with the same outputs, from which training goes on.

Every feature channel gets k copies. What reads them gets a k-th of the old weight for each copy, plus noise that sums
to zero over the copies: the result is the same, but no two copies are read alike, so that they part in the first step.
Equal shares would stay equal for ever, under any optimiser. Copies stay inside their flow group, attention head and
frame; norms see every channel equally often, and the softmax over k times as many keys gives each a k-th. Growth and
residual channels, which no norm sees, are not copied: the further ones start from random inputs and are read with
weight zero. A further residual dense block adds zero, and shares what reads its predecessor.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from fmanet_cli.errors import OptionError
from fmanet_cli.model.config import FMANetConfig
from fmanet_cli.model.fmanet import FMANet, random_model
from fmanet_cli.training.wide_channels import FRESH, Channels, WideChannels

NOISE = 0.3
"""Of the shares of copies, over the standard deviation of the old weights."""

_ADDED_BLOCK_ENDS = re.compile(r"\.RDBs\.\d+\.conv\.(weight|bias)$")


def widen(model: FMANet, config: FMANetConfig, *, seed: int = 0) -> FMANet:
    """A network of `config` that computes what `model` does, up to rounding.

    Raises `OptionError` where `config` is no widening of the model's.
    """
    channels = WideChannels(model.config, config)
    wide = random_model(config, seed=seed).to(next(model.parameters()).dtype)
    wide.colour_order = model.colour_order
    generator = torch.Generator().manual_seed(seed)
    old = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in wide.named_parameters():
            if name in old:
                rows, columns = channels.of_parameter(name)
                parameter.copy_(_widened(old[name], parameter, rows, columns, generator))
            elif _ADDED_BLOCK_ENDS.search(name):
                parameter.zero_()
    return wide


def is_widening(old: FMANetConfig, new: FMANetConfig) -> bool:
    """Whether `widen` can make a network of `new` from one of `old`."""
    try:
        WideChannels(old, new)
    except OptionError:
        return False
    return old != new


def _widened(old: Tensor, random: Tensor, rows: Channels, columns: Channels, generator: torch.Generator) -> Tensor:
    """The old weights for wide rows and columns; rows without an old one keep their random weights."""
    result = random.clone()
    kept = [row for row, source in enumerate(rows) if source != FRESH]
    source = old[[rows[row] for row in kept]]
    if not columns:
        result[kept] = source
        return result
    known = [column for column, old_column in enumerate(columns) if old_column != FRESH]
    origin = torch.tensor([columns[column] for column in known])
    copies = torch.bincount(origin, minlength=old.shape[1]).to(old.dtype)[origin].view(1, -1, *[1] * (old.ndim - 2))
    shares = source[:, origin] / copies
    noise = torch.randn(shares.shape, generator=generator).to(old.dtype) * (NOISE * old.std())
    sums = torch.zeros_like(source).index_add_(1, origin, noise)
    weights = source.new_zeros(len(kept), len(columns), *old.shape[2:])
    weights[:, known] = shares + noise - sums[:, origin] / copies
    result[kept] = weights
    return result
