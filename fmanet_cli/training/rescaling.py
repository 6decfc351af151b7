"""Keeps the degradation branch of Net^R in the range of 16-bit numbers, exactly.

Features of the degradation kernels end as queries that are scaled to unit length, so their scale has no effect on the
result. Nor has it on the loss: gradients are orthogonal to it, every step makes the weights longer, and activations
grow until float16 (65,504) cannot hold them. All layers between are positively homogeneous, so that a power of two
taken from the first weights and from the biases on the way changes no digit of anything that follows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fmanet_cli.model.fmanet import FMANet

_BRANCH = re.compile(r"d_conv\.|FRMA_blocks\.\d+\.(rdb_KD\.|conv_KD|multi_attn_block\.\d+\.da_attn\.q(_dwconv)?$)")

LARGEST_EXPONENT = 10
"""The branch's largest activation is brought below two to this power."""


def scaled_parameters(model: FMANet) -> list[nn.Parameter]:
    """The parameters whose common factor is that of the branch's activations."""
    blocks = range(model.config.num_frma_blocks)
    biases = [f"FRMA_blocks.{number}.rdb_KD.conv.bias" for number in blocks]
    return [model.restoration_network.get_parameter(name) for name in ("d_conv.0.weight", *biases)]


@torch.no_grad()
def find_scale(model: FMANet, window: Tensor) -> float:
    """The power of two, at most 1, that brings the branch below its limit on a (B, 3, T, H, W) window."""
    largest = max(branch_activations(model, window).values())
    if not math.isfinite(largest) or largest < 2.0**LARGEST_EXPONENT:
        return 1.0
    return 2.0 ** (LARGEST_EXPONENT - math.frexp(largest)[1])


@torch.no_grad()
def branch_activations(model: FMANet, window: Tensor) -> dict[str, float]:
    """The largest absolute value that each layer of the branch gives, by the layer's name."""
    found: dict[str, float] = {}

    def watch(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            found[name] = max(found.get(name, 0.0), float(output.abs().max()))

        return hook

    layers = model.restoration_network.named_modules()
    watched = [(name, layer) for name, layer in layers if _BRANCH.match(name) and not list(layer.children())]
    hooks = [layer.register_forward_hook(watch(name)) for name, layer in watched]
    training = model.training
    try:
        model.eval()(window)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return found


@torch.no_grad()
def rescale(models: Sequence[FMANet], optimizers: Sequence[torch.optim.Optimizer], scale: float) -> None:
    """Multiply the branch of all networks by a power of two; what optimisers remember of its gradients follows."""
    for model in models:
        for parameter in scaled_parameters(model):
            parameter.mul_(scale)
            for optimizer in optimizers:
                remembered = optimizer.state.get(parameter, {})
                for name, power in (("momentum", 1), ("exp_avg", 1), ("exp_avg_sq", 2)):
                    if name in remembered:
                        remembered[name].div_(scale**power)
