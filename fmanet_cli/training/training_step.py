"""One training step from a batch to new weights, and its recording as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from fmanet_cli.training.losses import DegradationLoss, RestorationLoss
from fmanet_cli.training.update import Update
from fmanet_cli.training.windows import WindowBatch, map_batch, tensors_of

Gradients = Callable[[WindowBatch, bool], DegradationLoss | RestorationLoss]
"""Computes the loss of a batch, rebuilding the blur or not, and leaves its gradients in the parameters."""

PLAIN_STEPS = 3
"""Steps of a kind before it is recorded, in which kernels are compiled and chosen and optimisers make their state."""


class TrainingStep:
    """Gradients of a batch, shared with other processes, and the update by them."""

    def __init__(self, gradients: Gradients, update: Update, share: Callable[[], None] = lambda: None) -> None:
        """`share` is called between the gradients and the update."""
        self._gradients, self._update, self._share = gradients, update, share
        self.names: dict[bool, list[str]] = {}
        """Names of the figures, by the kind of step."""

    def __call__(self, batch: WindowBatch, rebuild: bool) -> Tensor:
        """The step's figures: one vector, so that reading them is one wait."""
        for parameter in self._update.parameters.values():
            parameter.grad = None
        figures = self._gradients(batch, rebuild).figures()
        self._share()
        figures["gradient_norm"], figures["skipped"] = self._update()
        self.names[rebuild] = list(figures)
        return torch.stack([value.float() for value in figures.values()])


class Recording(Protocol):
    """A step recorded on fixed memory."""

    output: Tensor
    """What the last replay computed, overwritten by the next one."""

    def replay(self) -> None:
        """Compute again, from what its inputs hold now."""


class CudaRecording:
    """A `Recording` by a CUDA graph. What is recorded is not computed meanwhile."""

    def __init__(self, compute: Callable[[], Tensor]) -> None:
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self.output = compute()

    def replay(self) -> None:
        """Start the graph on the current stream."""
        self._graph.replay()


class RecordedStep:
    """A `TrainingStep` that is recorded once for each kind of step and replayed from then on."""

    def __init__(self, step: TrainingStep, record: Callable[[Callable[[], Tensor]], Recording] = CudaRecording) -> None:
        self._step, self._record = step, record
        self._plain_steps: dict[bool, int] = {}
        self._recorded: dict[bool, tuple[WindowBatch, Recording]] = {}

    @property
    def names(self) -> dict[bool, list[str]]:
        """Names of the figures, by the kind of step."""
        return self._step.names

    def __call__(self, batch: WindowBatch, rebuild: bool) -> Tensor:
        """As `TrainingStep`; the figures are the caller's to keep."""
        done = self._plain_steps.get(rebuild, 0)
        if done < PLAIN_STEPS:
            self._plain_steps[rebuild] = done + 1
            return self._step(batch, rebuild)
        if rebuild not in self._recorded:
            fixed = map_batch(batch, torch.clone)
            self._recorded[rebuild] = fixed, self._record(lambda: self._step(fixed, rebuild))
        fixed, recording = self._recorded[rebuild]
        for target, value in zip(tensors_of(fixed), tensors_of(batch), strict=True):
            if target is not None and value is not None:
                target.copy_(value, non_blocking=True)
        recording.replay()
        return recording.output.clone()
