"""The training loop."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from fmanet_cli.errors import TrainingError
from fmanet_cli.model.fmanet import random_model
from fmanet_cli.training.recipes import RECIPES, Stage, find_recipe
from fmanet_cli.training.trainer import RunOptions, StepReport, Trainer
from fmanet_cli.training.windows import WindowBatch
from fmanet_cli.weights.checkpoint import load_model
from tests.training.conftest import TINY, SimpleWindows, tiny_recipe


def trainer(folder: Path, *, source=None, recipe=None, validation=(), **options) -> Trainer:
    run = RunOptions(**{"folder": folder, "half_precision": False, "prefetched_batches": 0, "save_every": 4, **options})
    return Trainer(
        random_model(TINY, seed=1),
        source or SimpleWindows(),
        recipe or tiny_recipe(),
        run,
        validation_windows=validation,
    )


def losses(reports: list[StepReport]) -> list[tuple[int, int, float]]:
    return [(report.stage, report.step, float(report.loss.total)) for report in reports]


def test_both_curves_fall_when_two_batches_are_learned_by_heart(tmp_path):
    recipe = tiny_recipe(steps=40, learning_rate=4e-3)
    reports = list(trainer(tmp_path, source=SimpleWindows(distinct=2), recipe=recipe).run())
    for stage in (1, 2):
        curve = [float(report.loss.total) for report in reports if report.stage == stage]
        assert len(curve) == 40
        assert sum(curve[-4:]) < 0.6 * sum(curve[:4])


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_resumed_run_has_exactly_the_losses_of_an_unbroken_one(tmp_path, optimizer):
    recipe = tiny_recipe(optimizer=optimizer)
    unbroken = losses(list(trainer(tmp_path / "a", recipe=recipe).run()))
    broken = trainer(tmp_path / "b", recipe=recipe)
    run = broken.run()
    seen = []
    for report in run:
        seen.append(report)
        if (report.stage, report.step) == (2, 5):
            break
    run.close()
    again = trainer(tmp_path / "b", recipe=recipe)
    position = again.resume()
    assert (position.stage, position.step) == (2, 4)
    resumed = losses(list(again.run()))
    assert losses(seen) == unbroken[:11]
    assert resumed == unbroken[10:]


def test_stage_1_moves_the_degradation_network_alone(tmp_path):
    before = random_model(TINY, seed=1).state_dict()
    run = trainer(tmp_path, stages=(1,))
    list(run.run())
    changed = {
        name.split(".")[0] for name, value in run.model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"degradation_learning_network"}


def test_the_written_weights_are_the_averaged_ones(tmp_path):
    run = trainer(tmp_path)
    list(run.run())
    written = load_model(tmp_path / "weights.safetensors").state_dict()
    for name, value in run.averaged.state_dict().items():
        assert torch.equal(written[name], value)
    assert any(not torch.equal(written[name], value) for name, value in run.model.state_dict().items())


class BrokenAfter(SimpleWindows):
    """Windows that turn to NaN from one batch on."""

    def __init__(self, first: int, last: int = 10**9) -> None:
        super().__init__()
        self.first, self.last = first, last

    def batch(self, index: int) -> WindowBatch:
        batch = super().batch(index)
        if self.first <= index <= self.last:
            batch.sharp.fill_(math.nan)
        return batch


def test_a_lasting_nan_stops_the_run_and_keeps_the_good_checkpoint(tmp_path):
    run = trainer(tmp_path, source=BrokenAfter(9), recipe=tiny_recipe(steps=40), save_every=1, stages=(2,))
    steps = 0
    with pytest.raises(TrainingError, match=r"^6 of the last 15 steps .* the first of them step 10"):
        for report in run.run():
            steps += not report.skipped
    assert steps == 9
    assert load_model(tmp_path / "weights.safetensors").config == TINY
    assert trainer(tmp_path, source=SimpleWindows()).resume().step == 9


class BrokenWithoutRebuilding(SimpleWindows):
    """Windows that are NaN in the three of four steps that do not rebuild the blur."""

    def batch(self, index: int) -> WindowBatch:
        batch = super().batch(index)
        if index % 4:
            batch.flow_valid.fill_(math.nan)
        return batch


def test_gradients_broken_in_some_steps_only_end_a_run_with_their_names(tmp_path):
    recipe = dataclasses.replace(tiny_recipe(steps=100), reconstruction_every=4)
    reports = []
    with pytest.raises(TrainingError, match=r"6 of the last 8 steps .*\(degradation_learning_network\.") as raised:
        reports.extend(trainer(tmp_path, source=BrokenWithoutRebuilding(), recipe=recipe, stages=(2,)).run())
    # The flow's error reaches Net^D alone.
    assert "restoration_network" not in str(raised.value)


def test_a_single_broken_step_is_left_out(tmp_path):
    run = trainer(tmp_path, source=BrokenAfter(2, 2), stages=(2,))
    reports = list(run.run())
    assert [report.step for report in reports if report.skipped] == [3]
    assert all(bool(value.isfinite().all()) for value in run.model.parameters())


def test_validation_measures_the_averaged_weights_at_the_end(tmp_path):
    windows = [SimpleWindows().batch(100)]
    reports = list(trainer(tmp_path, validation=windows, validate_every=4).run())
    checked = [(report.stage, report.step) for report in reports if report.validation]
    assert checked == [(2, 4), (2, 6)]
    assert reports[-1].validation is not None
    assert 10 < reports[-1].validation.bicubic_psnr < 60


def test_minutes_end_a_run_early_with_a_checkpoint(tmp_path):
    reports = list(trainer(tmp_path, recipe=tiny_recipe(steps=100_000), minutes=0.02, stages=(2,)).run())
    assert 1 <= len(reports) < 1000
    assert reports[-1].progress == 1.0
    assert reports[-1].learning_rate < 2e-3
    assert (tmp_path / "weights.safetensors").exists()


def test_resuming_another_run_is_refused(tmp_path):
    list(trainer(tmp_path).run())
    with pytest.raises(TrainingError, match="was started with recipe tiny and seed 0, not tiny and 3"):
        trainer(tmp_path, seed=3).resume()
    with pytest.raises(TrainingError, match=r"no run to resume in .*: state.pt is missing"):
        trainer(tmp_path / "other").resume()
    (tmp_path / "state.pt").write_bytes(b"damaged")
    with pytest.raises(TrainingError, match=r"cannot read .*state.pt"):
        trainer(tmp_path).resume()


def test_the_paper_halves_at_70_85_and_95_percent():
    stage = Stage(number=1, steps=100, learning_rate=2e-4, schedule="halving")
    rates = [stage.learning_rate_at(step, step / 100) for step in (0, 69, 70, 84, 85, 94, 95, 99)]
    assert rates == [2e-4, 2e-4, 1e-4, 1e-4, 5e-5, 5e-5, 2.5e-5, 2.5e-5]


def test_cosine_warms_up_and_ends_at_a_hundredth():
    stage = Stage(number=2, steps=100, learning_rate=1e-3, schedule="cosine", warm_up_steps=10)
    assert stage.learning_rate_at(0, 0.0) == pytest.approx(1e-4)
    assert stage.learning_rate_at(50, 0.5) == pytest.approx(0.505e-3)
    assert stage.learning_rate_at(99, 1.0) == pytest.approx(1e-5)


def test_the_paper_recipe_has_the_papers_figures():
    recipe = RECIPES["paper"]
    assert [stage.steps for stage in recipe.stages] == [300_000, 300_000]
    assert (recipe.window_pixels, recipe.batch_windows, recipe.config.dim) == (64, 8, 90)
    assert (recipe.weights.flow, recipe.weights.degradation, recipe.reconstruction_every) == (1e-4, 0.1, 1)


def test_an_unknown_recipe_is_refused():
    with pytest.raises(ValueError, match="there is no recipe 'large'; choose from paper, lite"):
        find_recipe("large")
