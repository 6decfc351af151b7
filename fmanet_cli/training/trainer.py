"""The training loop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fmanet_cli.errors import TrainingError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.training.broken_steps import BrokenSteps, not_finite
from fmanet_cli.training.compiling import CheckedStep, avoid_wrong_code
from fmanet_cli.training.losses import DegradationLoss, RestorationLoss, degradation_loss, restoration_loss
from fmanet_cli.training.muon import Muon, split_parameters
from fmanet_cli.training.prefetch import prefetch
from fmanet_cli.training.recipes import Recipe, Stage
from fmanet_cli.training.replicas import average_gradients, replica
from fmanet_cli.training.state import WEIGHTS_NAME, RunPosition, RunState, load_state, save_state
from fmanet_cli.training.validation import ValidationResult, validate
from fmanet_cli.training.windows import WindowBatch, WindowSource
from fmanet_cli.weights.checkpoint import CheckpointMetadata, save_checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What differs between two runs of one recipe."""

    folder: Path
    """Where the run writes its weights, state and logs."""
    seed: int = 0
    """Seed of weights and windows."""
    stages: tuple[int, ...] = (1, 2)
    """Stages to run."""
    minutes: float | None = None
    """Time limit of the run, divided among its stages by their steps; the schedules then follow the clock."""
    save_every: int = 200
    """Steps between two checkpoints."""
    validate_every: int = 500
    """Steps between two validations."""
    half_precision: bool = True
    """Compute in bfloat16 where that is safe."""
    compiled: bool = False
    """Compile the step with torch.compile; it is used only if its gradients are those of the plain step."""
    prefetched_batches: int = 4
    """Batches made ahead by a background process; 0 makes them in the loop, as on a GPU."""
    licence: str = "MIT"
    """Licence written into the weights."""
    source: str = "fmanet train"
    """Origin written into the weights."""

    def __post_init__(self) -> None:
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes must be positive, got {self.minutes}")


@dataclass(frozen=True, slots=True, eq=False)
class StepReport:
    """What one step did."""

    stage: int
    step: int
    """Steps done in this stage, this one included."""
    progress: float
    """Share of the stage that is done, 0 to 1."""
    seconds: float
    """Time spent in this stage."""
    learning_rate: float
    gradient_norm: float
    """Before clipping."""
    loss: DegradationLoss | RestorationLoss
    batch: WindowBatch
    validation: ValidationResult | None
    """Result of the averaged weights, in the steps that validate."""
    skipped: bool
    """Whether the step was left out because its loss or gradient was not finite."""
    notes: tuple[str, ...] = ()
    """What should be told, one line each."""


class Trainer:
    """Trains a network by a recipe. ``for report in trainer.run()`` is the whole of a run."""

    def __init__(
        self,
        model: FMANet,
        source: WindowSource,
        recipe: Recipe,
        options: RunOptions,
        *,
        device: torch.device | str = "cpu",
        validation_windows: Sequence[WindowBatch] = (),
    ) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device).train()
        self.model.fold_frames(True)
        self.averaged = copy.deepcopy(model).requires_grad_(False).eval()
        self.source = source
        self.recipe = recipe
        self.options = options
        self.validation_windows = [batch.to(self.device) for batch in validation_windows]
        self._resumed: RunState | None = None
        self._batch = 0
        if options.compiled and self.device.type == "cpu":
            avoid_wrong_code()
        self._broken = BrokenSteps()

    def resume(self) -> RunPosition:
        """Go on from the state in the run's folder. Raises ``TrainingError`` where it does not belong to this run."""
        state = load_state(self.options.folder)
        position = state.position
        if (position.recipe, position.seed) != (self.recipe.name, self.options.seed):
            raise TrainingError(
                f"the run in {self.options.folder} was started with recipe {position.recipe} and seed {position.seed}, "
                f"not {self.recipe.name} and {self.options.seed}; give the same ones"
            )
        try:
            self.model.load_state_dict(state.model)
            self.averaged.load_state_dict(state.averaged)
        except RuntimeError as error:
            raise TrainingError(f"the run in {self.options.folder} trains another network; start a new run") from error
        self._resumed = state
        self._batch = position.batch
        return position

    def run(self) -> Generator[StepReport, None, None]:
        """Train stage after stage. Checkpoints are written on the way and at the end.

        Raises ``TrainingError`` when too many gradients are not finite; the last good checkpoint stays.
        """
        torch.set_flush_denormal(True)
        first = self._resumed.position.stage if self._resumed else 0
        stages = [stage for stage in self.recipe.stages if stage.number in self.options.stages]
        steps = sum(stage.steps for stage in stages)
        for stage in stages:
            if stage.number < first:
                continue
            limit = self.options.minutes and self.options.minutes * 60.0 * stage.steps / steps
            yield from self._run_stage(stage, limit)

    def _run_stage(self, stage: Stage, seconds_limit: float | None) -> Generator[StepReport, None, None]:
        trained: nn.Module = self.model.degradation_learning_network if stage.number == 1 else self.model
        parameters = list(trained.parameters())
        optimizers = self._optimizers(parameters, stage.learning_rate)
        step, seconds_before = 0, 0.0
        if self._resumed and self._resumed.position.stage == stage.number:
            for optimizer, saved in zip(optimizers, self._resumed.optimizers, strict=True):
                optimizer.load_state_dict(saved)
            step, seconds_before = self._resumed.position.step, self._resumed.position.seconds
        named = dict(trained.named_parameters())
        self._broken = BrokenSteps()

        def compute(batch: WindowBatch, rebuild: bool) -> DegradationLoss | RestorationLoss:
            return self._compute_loss(stage.number, batch, rebuild)

        checked_step = CheckedStep(compute, named) if self.options.compiled else None
        number, count = replica()
        source = self.source if count == 1 else _EveryNth(self.source, number, count)
        batches = prefetch(source, start=self._batch, ahead=self.options.prefetched_batches)
        started = time.monotonic()
        progress = max(step / stage.steps, seconds_before / seconds_limit if seconds_limit else 0.0)
        while progress < 1.0:
            rate = stage.learning_rate_at(step, progress)
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = rate
            batch = next(batches).to(self.device)
            for parameter in parameters:
                parameter.grad = None
            rebuild = step % self.recipe.reconstruction_every == 0
            if checked_step is not None:
                loss = checked_step(batch, rebuild)
            else:
                loss = compute(batch, rebuild)
                loss.total.backward()
            seconds = average_gradients(parameters, seconds_before + time.monotonic() - started)
            norm = nn.utils.get_total_norm([value.grad for value in parameters if value.grad is not None])
            broken = not math.isfinite(float(norm))
            names = not_finite((name, value.grad) for name, value in named.items()) if broken else ()
            self._broken.count(step + 1, broken=broken, parameters=names)
            if not broken:
                nn.utils.clip_grads_with_norm_(parameters, self.recipe.gradient_norm, norm)
                for optimizer in optimizers:
                    optimizer.step()
                self._average(step)
            step += 1
            self._batch += 1
            progress = max(step / stage.steps, seconds / seconds_limit if seconds_limit else 0.0)
            last = progress >= 1.0
            checked = None
            if number == 0:
                checked = self._validate(stage, step, last=last)
                if last or step % self.options.save_every == 0:
                    position = RunPosition(
                        self.recipe.name, self.options.seed, stage.number, step, self._batch, seconds
                    )
                    self._save(position, optimizers)
            yield StepReport(
                stage=stage.number,
                step=step,
                progress=min(progress, 1.0),
                seconds=seconds,
                learning_rate=rate,
                gradient_norm=float(norm),
                loss=loss.detach(),
                batch=batch,
                validation=checked,
                skipped=broken,
                notes=checked_step.take_notes() if checked_step else (),
            )

    def _optimizers(self, parameters: Sequence[nn.Parameter], rate: float) -> list[torch.optim.Optimizer]:
        if self.recipe.optimizer == "adam":
            return [torch.optim.Adam(parameters, lr=rate, fused=True)]
        matrices, rest = split_parameters(parameters)
        return [Muon(matrices, lr=rate), torch.optim.Adam(rest, lr=rate, fused=True)]

    def _validate(self, stage: Stage, step: int, *, last: bool) -> ValidationResult | None:
        due = last or step % self.options.validate_every == 0
        if not due or stage.number == 1 or not self.validation_windows:
            return None
        return validate(self.averaged, self.validation_windows, autocast=self._autocast())

    def _autocast(self) -> torch.dtype | None:
        return torch.bfloat16 if self.options.half_precision else None

    def _compute_loss(self, stage: int, batch: WindowBatch, rebuild: bool) -> DegradationLoss | RestorationLoss:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.options.half_precision):
            if stage == 1:
                learned = self.model.degradation_learning_network.forward_training(batch.blurry, batch.sharp)
                return degradation_loss(learned, learned.anchor, batch, self.recipe.weights)
            outputs = self.model.forward_training(batch.blurry, batch.sharp if rebuild else None)
        return restoration_loss(outputs, batch, self.recipe.weights)

    @torch.no_grad()
    def _average(self, step: int) -> None:
        # Young averages follow quickly, or the untrained start would weigh on them for thousands of steps.
        decay = min(self.recipe.ema_decay, (1.0 + step) / (10.0 + step))
        mine: list[Tensor] = list(self.averaged.parameters())
        theirs: list[Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(mine, theirs, 1.0 - decay)

    def _save(self, position: RunPosition, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        if self._broken.last_was_broken or not all(_is_finite(value) for value in self.averaged.parameters()):
            return
        folder = self.options.folder
        metadata = CheckpointMetadata(
            licence=self.options.licence,
            source=self.options.source,
            training=f"recipe {position.recipe}, stage {position.stage}, {position.step} steps, seed {position.seed}",
        )
        save_checkpoint(folder / WEIGHTS_NAME, self.averaged, metadata=metadata)
        save_state(
            folder,
            RunState(
                position,
                self.model.state_dict(),
                self.averaged.state_dict(),
                [optimizer.state_dict() for optimizer in optimizers],
            ),
        )


def _is_finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())


class _EveryNth:
    """The batches of one of several processes (a ``WindowSource``)."""

    def __init__(self, source: WindowSource, number: int, count: int) -> None:
        self.source, self.number, self.count = source, number, count

    def batch(self, index: int) -> WindowBatch:
        return self.source.batch(index * self.count + self.number)
