"""The training loop."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from fmanet_cli.errors import TrainingError
from fmanet_cli.model.config import LITE
from fmanet_cli.model.fmanet import random_model
from fmanet_cli.training.recipes import RECIPES, Stage, find_recipe
from fmanet_cli.training.run_options import RunOptions
from fmanet_cli.training.step_report import StepReport
from fmanet_cli.training.trainer import Trainer
from fmanet_cli.training.validation import ValidationWindows
from fmanet_cli.training.windows import WindowBatch
from fmanet_cli.weights.checkpoint import load_model
from tests.training.conftest import TINY, SimpleWindows, tiny_recipe


def trainer(
    folder: Path, *, source=None, recipe=None, validation=(), is_asked_to_stop=lambda: False, **options
) -> Trainer:
    run = RunOptions(**{"folder": folder, "half_precision": False, "prefetched_batches": 0, "save_every": 4, **options})
    return Trainer(
        random_model(TINY, seed=1),
        source or SimpleWindows(),
        recipe or tiny_recipe(),
        run,
        validation_windows=validation,
        is_asked_to_stop=is_asked_to_stop,
    )


def losses(reports: list[StepReport]) -> list[tuple[int, int, float]]:
    return [(report.stage, report.step, report.figures["total"]) for report in reports]


def test_both_curves_fall_when_two_batches_are_learned_by_heart(tmp_path):
    recipe = tiny_recipe(steps=40, learning_rate=4e-3)
    reports = list(trainer(tmp_path, source=SimpleWindows(distinct=2), recipe=recipe).run())
    for stage in (1, 2):
        curve = [report.figures["total"] for report in reports if report.stage == stage]
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


def test_a_run_that_ends_with_a_broken_step_is_saved(tmp_path):
    list(trainer(tmp_path, source=BrokenAfter(5, 5), stages=(2,)).run())
    assert trainer(tmp_path).resume().step == 6


def test_a_run_told_to_stop_at_a_broken_step_is_saved(tmp_path):
    reports: list[StepReport] = []
    run = trainer(tmp_path, source=BrokenAfter(2, 2), stages=(2,), is_asked_to_stop=lambda: len(reports) == 2)
    for report in run.run():
        reports += [report]
    assert [report.skipped for report in reports] == [False, False, True]
    assert trainer(tmp_path).resume().step == 3


def test_a_single_broken_step_is_left_out(tmp_path):
    run = trainer(tmp_path, source=BrokenAfter(2, 2), stages=(2,))
    reports = list(run.run())
    assert [report.step for report in reports if report.skipped] == [3]
    assert [report.why_skipped for report in reports[1:4]] == ["", "its gradient is not finite", ""]
    longer = dataclasses.replace(reports[2], gradient_norm=2.5)
    assert longer.why_skipped == "its gradient, 2.5 long, is far longer than usual"
    assert all(bool(value.isfinite().all()) for value in run.model.parameters())


def test_validation_measures_the_averaged_weights_at_the_end(tmp_path):
    windows = [ValidationWindows.of(SimpleWindows().batch(100))]
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


def test_a_paused_run_saves_and_goes_on_as_if_nothing_had_been(tmp_path, monkeypatch):
    recipe = tiny_recipe(optimizer="muon")
    unbroken = losses(list(trainer(tmp_path / "a", recipe=recipe, save_every=5, stages=(2,)).run()))
    clock = iter(range(10_000))
    monkeypatch.setattr("fmanet_cli.training.trainer.time.monotonic", lambda: 60.0 * next(clock))
    paused = trainer(tmp_path / "b", recipe=recipe, save_every=5, pause_after=3.0, stages=(2,))
    first = losses(list(paused.run()))
    assert len(first) == 3
    again = trainer(tmp_path / "b", recipe=recipe, save_every=5, stages=(2,))
    again.resume()
    rest = losses(list(again.run()))
    # Momenta are rounded at each save, so the two runs are the same up to that.
    assert [step for _, step, _ in first + rest] == [step for _, step, _ in unbroken]
    for (_, _, mine), (_, _, theirs) in zip(first + rest, unbroken, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3)


def test_a_branch_decays_while_the_run_itself_stays(tmp_path):
    stage = Stage(number=2, steps=6, learning_rate=2e-3, schedule="constant")
    recipe = dataclasses.replace(tiny_recipe(optimizer="muon"), stages=(stage,))
    run = trainer(tmp_path / "run", recipe=recipe)
    list(run.run())
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    decaying = dataclasses.replace(recipe, stages=(dataclasses.replace(stage, steps=4, decay_from=0.0),))
    branch = trainer(tmp_path / "branch", recipe=decaying)
    branch.branch_off(tmp_path / "run")
    for mine, theirs in zip(branch.model.parameters(), run.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    reports = list(branch.run())
    assert [report.step for report in reports] == [1, 2, 3, 4]
    assert [report.learning_rate for report in reports] == pytest.approx(
        [2e-3 * (1 - (n / 4) ** 0.5) for n in range(4)]
    )
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_both_averages_are_validated_and_the_better_one_is_released(tmp_path):
    windows = [ValidationWindows.of(SimpleWindows().batch(100))]
    recipe = dataclasses.replace(tiny_recipe(steps=8, learning_rate=4e-3), ema_decays=(0.0, 0.999999))
    run = trainer(tmp_path, recipe=recipe, validation=windows, stages=(2,))
    report = list(run.run())[-1]
    quick, slow = report.validations
    better = max((quick.psnr, 0), (slow.psnr, 1))[1]
    written = load_model(tmp_path / "weights.safetensors").state_dict()
    raw = load_model(tmp_path / "raw.safetensors").state_dict()
    for name, value in run.averages.models[better].state_dict().items():
        assert torch.equal(written[name], value)
        assert torch.equal(raw[name], run.model.state_dict()[name])
    assert report.validation is (quick, slow)[better]


def test_the_state_of_a_large_network_lies_in_files_below_16_mib(tmp_path):
    config = dataclasses.replace(
        LITE, dim=60, growth=20, num_rdbs=6, num_frma_blocks=3, num_flows=6, num_heads=6, residual_dim=24
    )
    model = random_model(config, seed=0)
    assert model.count_parameters() > 2_500_000
    stage = Stage(number=2, steps=1, learning_rate=1e-3, schedule="constant")
    recipe = dataclasses.replace(tiny_recipe(optimizer="muon"), config=config, stages=(stage,))
    options = RunOptions(folder=tmp_path, stages=(2,), half_precision=False, prefetched_batches=0)
    list(Trainer(model, SimpleWindows(windows=1), recipe, options).run())
    sizes = {path.name: path.stat().st_size / 2**20 for path in tmp_path.iterdir()}
    assert len(sizes) == 6 and max(sizes.values()) < 16
    assert sizes["state.pt"] < 8


def test_only_the_newest_state_is_kept_and_a_missing_part_is_said(tmp_path):
    list(trainer(tmp_path).run())
    names = {path.name for path in tmp_path.glob("state*.pt")}
    assert names == {"state.pt", "state-raw-12.pt", "state-averaged0-12.pt", "state-averaged1-12.pt"}
    (tmp_path / "state-raw-12.pt").unlink()
    with pytest.raises(TrainingError, match=r"cannot read .*state-raw-12.pt"):
        trainer(tmp_path).resume()


def test_a_constant_rate_decays_by_a_root_where_it_is_told_to():
    stage = Stage(number=2, steps=100, learning_rate=1e-3, schedule="constant", warm_up_steps=10, decay_from=0.8)
    rates = [stage.learning_rate_at(step, step / 100) for step in (0, 10, 79, 80, 85, 100)]
    assert rates == pytest.approx([1e-4, 1e-3, 1e-3, 1e-3, 5e-4, 0.0])
    for_ever = Stage(number=2, steps=100, learning_rate=1e-3, schedule="constant")
    assert for_ever.learning_rate_at(99, 1.0) == 1e-3
    with pytest.raises(ValueError, match="decay_from must be a share of the stage, 0 to 1, got 2"):
        Stage(number=2, steps=100, learning_rate=1e-3, schedule="constant", decay_from=2)


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
    with pytest.raises(ValueError, match="there is no recipe 'large'; choose from paper, lite, base"):
        find_recipe("large")
