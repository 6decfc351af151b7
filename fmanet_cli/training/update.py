"""What follows a backward pass: gradients judged, optimisers and averages stepped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fmanet_cli.training.averages import Averages
from fmanet_cli.training.clipping import RunningClip
from fmanet_cli.training.muon import Muon, split_parameters
from fmanet_cli.training.recipes import Recipe


class Update:
    """One step of all optimisers and averages, computed by tensors alone: nothing waits, and it can be recorded."""

    def __init__(self, trained: nn.Module, averages: Averages, recipe: Recipe) -> None:
        self.parameters = dict(trained.named_parameters())
        device = next(iter(self.parameters.values())).device
        self._averages = averages
        self._clip = RunningClip(device)
        # The learning rate, then the share of each average.
        self._controls = torch.zeros(1 + len(averages.models), device=device)
        self._broken = torch.zeros((), device=device)
        self._unsound = torch.zeros(len(self.parameters), dtype=torch.bool, device=device)
        self.optimizers = self._make_optimizers(recipe, device)

    def _make_optimizers(self, recipe: Recipe, device: torch.device) -> list[torch.optim.Optimizer]:
        rate = self._controls[0]
        matrices, rest = split_parameters(self.parameters.values())
        if recipe.optimizer == "adam":
            matrices, rest = [], list(self.parameters.values())
        adam = torch.optim.Adam(rest, lr=rate, fused=True, capturable=device.type == "cuda")
        optimizers: list[Any] = [adam]
        if matrices:
            optimizers.append(Muon(matrices, lr=rate, weight_decay=recipe.weight_decay))
        for optimizer in optimizers:
            # Both leave out a step where this is 1.
            optimizer.found_inf = self._broken
        return optimizers

    def control(self, rate: float, step: int) -> None:
        """Set the learning rate and the number of the coming step, from 0."""
        self._controls.copy_(torch.tensor([rate, *self._averages.shares(step)]), non_blocking=True)

    @torch.no_grad()
    def __call__(self) -> tuple[Tensor, Tensor]:
        """Step from the gradients in the parameters.

        Returns:
            The gradient's norm and whether the step was left out (1.0 or 0.0), scalar tensors.
        """
        present = [parameter.grad is not None for parameter in self.parameters.values()]
        gradients = [parameter.grad for parameter in self.parameters.values() if parameter.grad is not None]
        lengths = iter(torch._foreach_norm(gradients))
        norms = torch.stack([next(lengths) if there else self._broken.new_zeros(()) for there in present])
        self._unsound.logical_or_(~norms.isfinite())
        norm = norms.norm()
        factor, broken = self._clip.judge(norm)
        torch._foreach_mul_(gradients, factor)
        self._broken.copy_(broken)
        for optimizer in self.optimizers:
            optimizer.step()
        self._averages.update(self._controls[1:] * (1.0 - self._broken))
        return norm, broken

    def unsound_parameters(self) -> list[str]:
        """The names of those whose gradient was not finite in any step until now."""
        return [name for name, unsound in zip(self.parameters, self._unsound.tolist(), strict=True) if unsound]

    def state(self) -> dict[str, Any]:
        """What a resumed run needs. Momenta are rounded to bfloat16, here and in the run itself, so that both agree."""
        saved = []
        for optimizer in self.optimizers:
            if isinstance(optimizer, Muon):
                optimizer.round_momenta()
            saved.append(_halved(optimizer.state_dict()))
        return {"optimizers": saved, "norms": self._clip.norms}

    def load_state(self, saved: dict[str, Any]) -> None:
        """Go on from a `state()`."""
        for optimizer, theirs in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(theirs)
            for group in optimizer.param_groups:
                group["lr"] = self._controls[0]
        self._clip.norms.copy_(saved["norms"])


def _halved(saved: dict[str, Any]) -> dict[str, Any]:
    """Momenta in bfloat16; the dictionaries of the running optimiser stay as they are."""
    state = {
        number: {name: value.bfloat16() if name == "momentum" else value for name, value in values.items()}
        for number, values in saved["state"].items()
    }
    return {**saved, "state": state}
