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

    def __init__(self, parameters: Iterable[Tensor], lr: float | Tensor, *, weight_decay: float = 0.0) -> None:
        """`parameters`: the first list of `split_parameters`; `weight_decay`: share of `lr` a step takes off."""
        super().__init__(list(parameters), {"lr": lr, "weight_decay": weight_decay})
        self.found_inf: Tensor | None = None
        """A scalar tensor: a step where it is 1 changes nothing, and nobody has to wait for its value."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step. Parameters without a gradient stay."""
        assert closure is None
        for group in self.param_groups:
            shapes: dict[tuple[int, int], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault((parameter.shape[0], parameter[0].numel()), []).append(parameter)
            rate = torch.as_tensor(group["lr"])
            for (rows, columns), parameters in shapes.items():
                self._step_together(parameters, rows, columns, rate, group["weight_decay"])

    def _step_together(self, parameters: list[Tensor], rows: int, columns: int, rate: Tensor, decay: float) -> None:
        gradients = torch.stack([cast(Tensor, p.grad).reshape(rows, columns) for p in parameters])
        momenta = [self._momentum(parameter, rows, columns) for parameter in parameters]
        old = torch.stack(momenta)
        new = torch.lerp(old, gradients, 1.0 - MOMENTUM)
        changes = orthogonalized(torch.lerp(gradients, new, MOMENTUM)) * (rate * RMS * max(rows, columns) ** 0.5)
        if decay:
            changes += torch.stack([parameter.reshape(rows, columns) for parameter in parameters]) * (rate * decay)
        if self.found_inf is not None:
            broken = self.found_inf.bool()
            new, changes = torch.where(broken, old, new), torch.where(broken, 0.0, changes)
        torch._foreach_copy_(momenta, list(new))
        shaped = [change.reshape(parameter.shape) for change, parameter in zip(changes, parameters, strict=True)]
        torch._foreach_sub_(parameters, shaped)

    def round_momenta(self) -> None:
        """Round the momenta to bfloat16, in which they are kept on disk: half the size, and no worse a direction."""
        for state in self.state.values():
            state["momentum"].copy_(state["momentum"].bfloat16())

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
