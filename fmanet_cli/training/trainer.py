"""The training loop."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from fmanet_cli.errors import TrainingError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.training.averages import Averages
from fmanet_cli.training.broken_steps import BrokenSteps
from fmanet_cli.training.compiling import CheckedStep, avoid_wrong_code, with_gradients
from fmanet_cli.training.losses import DegradationLoss, RestorationLoss, degradation_loss, restoration_loss
from fmanet_cli.training.prefetch import EveryNth, prefetch
from fmanet_cli.training.recipes import Recipe, Stage
from fmanet_cli.training.replicas import average_gradients, replica
from fmanet_cli.training.run_options import RunOptions
from fmanet_cli.training.saving import save_run
from fmanet_cli.training.state import RunPosition, RunState, load_state
from fmanet_cli.training.step_report import StepReport
from fmanet_cli.training.training_step import RecordedStep, TrainingStep
from fmanet_cli.training.update import Update
from fmanet_cli.training.validation import ValidationResult, ValidationWindows, validate
from fmanet_cli.training.windows import WindowBatch, WindowSource

STEPS_READ_TOGETHER = 50
"""Steps whose figures a GPU is asked for at once: a question ends its running ahead."""

_WATCHED_WINDOWS = 2
"""Windows on which activations are measured at each save; every one costs a restoration by three networks."""


@dataclass(slots=True)
class _Unread:
    """A step whose figures are still on the device."""

    rebuild: bool
    figures: Tensor
    step: int
    progress: float
    seconds: float
    rate: float


class Trainer:
    """Trains a network by a recipe. `for report in trainer.run()` is the whole of a run."""

    def __init__(
        self,
        model: FMANet,
        source: WindowSource,
        recipe: Recipe,
        options: RunOptions,
        *,
        device: torch.device | str = "cpu",
        validation_windows: Sequence[ValidationWindows] = (),
        is_asked_to_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_asked_to_stop` is called after each step; once it says yes, the run saves and ends, to be resumed."""
        self.device = torch.device(device)
        self.model = model.to(self.device).train()
        self.model.fold_frames(True)
        self.averages = Averages(model, recipe.ema_decays, batch_windows=recipe.batch_windows)
        self.source = source
        self.recipe = recipe
        self.options = options
        self.validation_windows = [batch.to(self.device) for batch in validation_windows]
        self.last_batch: WindowBatch | None = None
        """What the newest step saw."""
        self._released = 0
        self._resumed: RunState | None = None
        self._batch = 0
        self._seconds = 0.0
        self._paused = False
        self._is_asked_to_stop = is_asked_to_stop
        self._stops = False
        if options.compiled and self.device.type == "cpu":
            avoid_wrong_code()

    @property
    def averaged(self) -> FMANet:
        """The average that validated best, the quickest until then."""
        return self.averages.models[self._released]

    def resume(self) -> RunPosition:
        """Go on from the state in the run's folder. Raises `TrainingError` where it does not belong to this run."""
        state = load_state(self.options.folder)
        position = state.position
        if (position.recipe, position.seed) != (self.recipe.name, self.options.seed):
            raise TrainingError(
                f"the run in {self.options.folder} was started with recipe {position.recipe} and seed {position.seed}, "
                f"not {self.recipe.name} and {self.options.seed}; give the same ones"
            )
        self._go_on(state, self.options.folder)
        return position

    def branch_off(self, folder: Path) -> RunPosition:
        """Begin the stage that another run is in anew, with that run's weights, averages and optimisers.

        Args:
            folder: of the other run, which is only read.

        Raises:
            TrainingError: that run trains another network.
        """
        state = load_state(folder)
        position = dataclasses.replace(state.position, step=0, seconds=0.0)
        self._go_on(dataclasses.replace(state, position=position), folder)
        return position

    def _go_on(self, state: RunState, folder: Path) -> None:
        try:
            for model, saved in zip((self.model, *self.averages.models), (state.model, *state.averaged), strict=True):
                model.load_state_dict(saved)
        except (RuntimeError, ValueError) as error:
            raise TrainingError(f"the run in {folder} trains another network; start a new run") from error
        self._resumed = state
        self._batch = state.position.batch

    def run(self) -> Generator[StepReport, None, None]:
        """Train stage after stage. Checkpoints are written on the way and at the end.

        Raises `TrainingError` when too many gradients are not finite; the last good checkpoint stays.
        """
        torch.set_flush_denormal(True)
        # The sizes of windows never change.
        torch.backends.cudnn.benchmark = True
        first = self._resumed.position.stage if self._resumed else 0
        stages = [stage for stage in self.recipe.stages if stage.number in self.options.stages]
        steps = sum(stage.steps for stage in stages)
        for stage in stages:
            if stage.number < first or self._paused:
                continue
            limit = self.options.minutes and self.options.minutes * 60.0 * stage.steps / steps
            yield from self._run_stage(stage, limit)

    def _run_stage(self, stage: Stage, seconds_limit: float | None) -> Generator[StepReport, None, None]:
        trained: nn.Module = self.model.degradation_learning_network if stage.number == 1 else self.model
        update = Update(trained, self.averages, self.recipe)
        step, seconds_before = self._position_in(stage, update)
        compute, take_step = self._prepare_step(stage, update)
        batches = self._batches()
        broken = BrokenSteps()
        unread: list[_Unread] = []
        # Other processes agree with this one through `_share`.
        self._seconds, self._started = seconds_before, time.monotonic() - seconds_before

        def progress() -> float:
            return max(step / stage.steps, self._seconds / seconds_limit if seconds_limit else 0.0)

        while progress() < 1.0 and not self._paused:
            rate = stage.learning_rate_at(step, progress())
            update.control(rate, step)
            self.last_batch = next(batches).to(self.device)
            rebuild = step % self.recipe.reconstruction_every == 0
            self._seconds = time.monotonic() - self._started
            figures = take_step(self.last_batch, rebuild)
            step += 1
            self._batch += 1
            unread.append(_Unread(rebuild, figures, step, min(progress(), 1.0), self._seconds, rate))
            self._paused = self._is_over(seconds_before)
            last = progress() >= 1.0 or self._paused
            saves = last or step % self.options.save_every == 0
            validates = progress() >= 1.0 or step % self.options.validate_every == 0
            if not (saves or validates or len(unread) >= self._steps_read_together()):
                continue
            reports = list(self._read(unread, stage, take_step.names))
            unread.clear()
            try:
                for report in reports:
                    broken.count(report.step, broken=report.skipped, unsound_parameters=update.unsound_parameters)
            except TrainingError:
                yield from reports
                raise
            checked = self._validate(stage) if validates else ()
            # A step that was left out has changed nothing, so where the run ends with one its weights are as good.
            if saves and (not broken.last_was_broken or (last and self._is_sound())):
                name, seed = self.recipe.name, self.options.seed
                self._save(RunPosition(name, seed, stage.number, step, self._batch, self._seconds), update)
            notes = compute.take_notes() if compute else ()
            reports[-1] = dataclasses.replace(reports[-1], validations=checked, notes=notes)
            yield from reports

    def _position_in(self, stage: Stage, update: Update) -> tuple[int, float]:
        """Steps and seconds already spent in a stage."""
        if self._resumed is None or self._resumed.position.stage != stage.number:
            return 0, 0.0
        update.load_state(self._resumed.update)
        return self._resumed.position.step, self._resumed.position.seconds

    def _batches(self) -> Iterator[WindowBatch]:
        number, count = replica()
        source = self.source if count == 1 else EveryNth(self.source, number, count)
        options = self.options
        return prefetch(source, start=self._batch, ahead=options.prefetched_batches, workers=options.loaders)

    def _prepare_step(self, stage: Stage, update: Update) -> tuple[CheckedStep | None, TrainingStep | RecordedStep]:
        def loss_of(batch: WindowBatch, rebuild: bool) -> DegradationLoss | RestorationLoss:
            return self._compute_loss(stage.number, batch, rebuild)

        checked = CheckedStep(loss_of, update.parameters) if self.options.compiled else None

        def share() -> None:
            told = self._seconds, float(self._is_asked_to_stop())
            self._seconds, stops = average_gradients(list(update.parameters.values()), told)
            self._stops = bool(stops)

        step = TrainingStep(checked or partial(with_gradients, loss_of), update, share)
        return checked, RecordedStep(step) if checked and self.device.type == "cuda" else step

    def _is_over(self, seconds_before: float) -> bool:
        limit = self.options.pause_after
        # Alone, a recorded step replays without calling `share`.
        stops = self._stops or (replica()[1] == 1 and self._is_asked_to_stop())
        return stops or (limit is not None and self._seconds - seconds_before >= limit * 60.0)

    def _is_sound(self) -> bool:
        return all(bool(value.isfinite().all()) for value in self.model.state_dict().values())

    def _steps_read_together(self) -> int:
        return STEPS_READ_TOGETHER if self.device.type == "cuda" else 1

    def _read(self, unread: Sequence[_Unread], stage: Stage, names: dict[bool, list[str]]) -> Iterator[StepReport]:
        values = torch.cat([item.figures for item in unread]).tolist()
        for item in unread:
            named = dict(zip(names[item.rebuild], values, strict=False))
            del values[: len(named)]
            yield StepReport(
                stage=stage.number,
                step=item.step,
                progress=item.progress,
                seconds=item.seconds,
                learning_rate=item.rate,
                gradient_norm=named.pop("gradient_norm"),
                skipped=bool(named.pop("skipped")),
                figures=named,
            )

    def _validate(self, stage: Stage) -> tuple[ValidationResult, ...]:
        if stage.number == 1 or not self.validation_windows:
            return ()
        autocast = torch.bfloat16 if self.options.half_precision else None
        results = [validate(model, self.validation_windows, autocast=autocast) for model in self.averages.models]
        self._released = max(range(len(results)), key=lambda number: results[number].psnr)
        return tuple(results)

    def _compute_loss(self, stage: int, batch: WindowBatch, rebuild: bool) -> DegradationLoss | RestorationLoss:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.options.half_precision):
            if stage == 1:
                learned = self.model.degradation_learning_network.forward_training(batch.blurry, batch.sharp)
                return degradation_loss(learned, learned.anchor, batch, self.recipe.weights)
            outputs = self.model.forward_training(batch.blurry, batch.sharp if rebuild else None)
        return restoration_loss(outputs, batch, self.recipe.weights)

    def _save(self, position: RunPosition, update: Update) -> None:
        assert self.last_batch is not None
        shown = self.validation_windows[0] if self.validation_windows else self.last_batch
        window = shown.blurry[:_WATCHED_WINDOWS]
        save_run(self.options, position, self.model, self.averages, self._released, update, window)
