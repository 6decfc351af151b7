"""Muon: steps of equal size in every direction for the weights that are matrices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor

MOMENTUM = 0.95
RMS = 0.2
"""Root mean square of a step's entries over the learning rate: about Adam's, so that both share one learning rate."""

SMALLEST_SIDE = 8
"""Kernels with fewer output channels or fewer inputs per output are left to Adam."""

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic whose iteration pushes all singular values near one (Jordan et al. 2024)."""

_ITERATIONS = 5


def split_parameters(parameters: Iterable[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Kernels and matrices that mix channels, and the rest: biases, norms, depthwise filters, thin layers."""
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for parameter in parameters:
        mixes = parameter.ndim >= 2 and parameter.shape[1] > 1
        wide = mixes and min(parameter.shape[0], parameter[0].numel()) >= SMALLEST_SIDE
        (matrices if wide else rest).append(parameter)
    return matrices, rest


class Muon(torch.optim.Optimizer):
    """Momentum whose sum is made orthogonal before each step (Jordan et al. 2024).

    A (C', C, ...) kernel counts as a (C', C * ...) matrix. torch.optim.Muon takes two-dimensional parameters alone and
    one at a time; here all matrices of one shape are computed together, which matters with a hundred small ones.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        """`parameters`: the first list of `split_parameters`."""
        super().__init__(list(parameters), {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step. Parameters without a gradient stay."""
        assert closure is None
        for group in self.param_groups:
            shapes: dict[tuple[int, int], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault((parameter.shape[0], parameter[0].numel()), []).append(parameter)
            for (rows, columns), parameters in shapes.items():
                gradients = torch.stack([cast(Tensor, p.grad).reshape(rows, columns) for p in parameters])
                momenta = [self._momentum(parameter, rows, columns) for parameter in parameters]
                torch._foreach_lerp_(momenta, list(gradients), 1.0 - MOMENTUM)
                steps = orthogonalized(torch.lerp(gradients, torch.stack(momenta), MOMENTUM))
                rate = group["lr"] * RMS * max(rows, columns) ** 0.5
                for parameter, change in zip(parameters, steps, strict=True):
                    parameter.sub_(change.reshape(parameter.shape), alpha=rate)

    def _momentum(self, parameter: Tensor, rows: int, columns: int) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = parameter.new_zeros(rows, columns)
        momentum: Tensor = state["momentum"]
        return momentum


def orthogonalized(matrices: Tensor) -> Tensor:
    """(N, R, C) matrices with their singular values pushed to between about 0.7 and 1.2; zero stays zero."""
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    wide = wide / wide.flatten(1).norm(dim=1).clamp_min(torch.finfo(wide.dtype).tiny)[:, None, None]
    linear, cubic, quintic = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = wide @ wide.mT
        wide = linear * wide + (cubic * gram + quintic * (gram @ gram)) @ wide
    return wide if matrices.shape[1] <= matrices.shape[2] else wide.mT
