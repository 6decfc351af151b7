"""Running averages of the weights, several spans side by side."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from fmanet_cli.model.fmanet import FMANet

BASE_WINDOWS = 8
"""Windows of a step that a decay is meant for."""


class Averages:
    """Exponential averages of a network's weights. What a step with more windows keeps is scaled to their number."""

    def __init__(self, model: FMANet, decays: Sequence[float], *, batch_windows: int) -> None:
        self.models = [copy.deepcopy(model).requires_grad_(False).eval() for _ in decays]
        """The averaged networks, in the order of the decays."""
        self._model = model
        self._decays = [decay ** (batch_windows / BASE_WINDOWS) for decay in decays]

    def shares(self, step: int) -> list[float]:
        """What step number `step` (from 0) gives to each average."""
        # Young averages follow quickly, or the untrained start would weigh on them for thousands of steps.
        return [1.0 - min(decay, (1.0 + step) / (10.0 + step)) for decay in self._decays]

    @torch.no_grad()
    def update(self, shares: Tensor) -> None:
        """`shares`: (number of averages,) on the weights' device."""
        theirs: list[Tensor] = list(self._model.parameters())
        for model, share in zip(self.models, shares, strict=True):
            mine: list[Tensor] = list(model.parameters())
            differences = torch._foreach_sub(theirs, mine)
            torch._foreach_mul_(differences, share)
            torch._foreach_add_(mine, differences)
