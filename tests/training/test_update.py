"""What follows a backward pass."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from fmanet_cli.model.fmanet import FMANet, random_model
from fmanet_cli.training.averages import Averages
from fmanet_cli.training.clipping import BROKEN, KNOWN_NORMS, LONGEST, RunningClip
from fmanet_cli.training.losses import LossWeights, restoration_loss
from fmanet_cli.training.muon import Muon
from fmanet_cli.training.training_step import PLAIN_STEPS, RecordedStep, TrainingStep
from fmanet_cli.training.update import Update
from tests.training.conftest import TINY, SimpleWindows, tiny_recipe


def update_of(model: FMANet, **changes) -> Update:
    recipe = tiny_recipe(optimizer="muon")
    return Update(model, Averages(model, recipe.ema_decays, batch_windows=8), recipe)


def loss_of(model: FMANet):
    def compute(batch, rebuild):
        outputs = model.forward_training(batch.blurry, batch.sharp if rebuild else None)
        return restoration_loss(outputs, batch, LossWeights())

    return compute


def plain(compute):
    def gradients(batch, rebuild):
        loss = compute(batch, rebuild)
        loss.total.backward()
        return loss

    return gradients


def everything(model: FMANet, update: Update) -> list[torch.Tensor]:
    """All that a step may change."""
    states = [
        value for optimizer in update.optimizers for state in optimizer.state.values() for value in state.values()
    ]
    return [tensor.clone() for tensor in (*model.parameters(), *update._averages.models[0].parameters(), *states)]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_broken_step_changes_nothing(broken):
    model = random_model(TINY, seed=1).fold_frames().train()
    update = update_of(model)
    step = TrainingStep(plain(loss_of(model)), update)
    update.control(1e-3, 0)
    step(SimpleWindows().batch(0), True)
    before = everything(model, update)
    batch = SimpleWindows().batch(1)
    batch.flow_valid.fill_(broken)
    figures = dict(zip(step.names[True], step(batch, True).tolist(), strict=True))
    assert figures["skipped"] == 1.0
    assert not math.isfinite(figures["gradient_norm"])
    assert all(torch.equal(a, b) for a, b in zip(before, everything(model, update), strict=True))
    names = update.unsound_parameters()
    assert names and all(name.startswith("degradation_learning_network") for name in names)
    step(SimpleWindows().batch(2), True)
    assert not all(torch.equal(a, b) for a, b in zip(before, everything(model, update), strict=True))


def test_long_gradients_are_shortened_and_far_too_long_ones_left_out():
    clip = RunningClip("cpu")
    for number in range(KNOWN_NORMS):
        assert [float(value) for value in clip.judge(torch.tensor(100.0 if number == 3 else 1.0))] == [1.0, 0.0]
    factor, broken = clip.judge(torch.tensor(6.0))
    assert (float(factor), float(broken)) == (LONGEST / 6.0, 0.0)
    assert float(clip.judge(torch.tensor(BROKEN * 1.01))[1]) == 1.0
    assert [float(value) for value in clip.judge(torch.tensor(math.nan))] == [1.0, 1.0]
    assert float(clip.judge(torch.tensor(2.0))[0]) == 1.0


def test_a_lasting_change_of_the_norm_is_followed():
    clip = RunningClip("cpu")
    for _ in range(KNOWN_NORMS):
        clip.judge(torch.tensor(1.0))
    left_out = [float(clip.judge(torch.tensor(20.0))[1]) for _ in range(2 * KNOWN_NORMS)]
    assert left_out[0] == 1.0 and left_out[-1] == 0.0


def test_weight_decay_shrinks_matrices_by_a_share_of_the_rate():
    weights = [torch.nn.Parameter(torch.ones(8, 8)) for _ in range(2)]
    for weight in weights:
        weight.grad = torch.eye(8)
    Muon([weights[0]], lr=0.1).step()
    Muon([weights[1]], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(weights[1], weights[0] - 0.05, atol=1e-7, rtol=0)


def test_averages_span_the_same_windows_whatever_the_batch():
    model = random_model(TINY, seed=1)
    small, large = (Averages(model, (0.999,), batch_windows=count) for count in (8, 16))
    assert small.shares(10**6) == pytest.approx([1e-3])
    assert large.shares(10**6) == pytest.approx([2e-3], rel=1e-3)
    assert small.shares(0) == [0.9]


class FakeRecording:
    """Replays as a CUDA graph does: the same computation, on the memory of its recording."""

    made = 0

    def __init__(self, compute):
        FakeRecording.made += 1
        self.compute, self.output = compute, torch.zeros(1)

    def replay(self):
        values = self.compute()
        if self.output.shape != values.shape:
            self.output = values
        self.output.copy_(values)


def test_recorded_steps_equal_plain_ones_for_both_kinds():
    results = []
    for recorded in (False, True):
        FakeRecording.made = 0
        model = random_model(TINY, seed=1).fold_frames().train()
        update = update_of(model)
        step = TrainingStep(plain(loss_of(model)), update)
        take = RecordedStep(step, FakeRecording) if recorded else step
        figures = []
        for number in range(2 * PLAIN_STEPS + 6):
            update.control(1e-3 * (1 + number), number)
            figures.append(take(SimpleWindows().batch(number), number % 2 == 0))
        results.append((figures, everything(model, update)))
        assert FakeRecording.made == (2 if recorded else 0)
    for mine, theirs in zip(*(figures for figures, _ in results), strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(*(state for _, state in results), strict=True):
        assert torch.equal(mine, theirs)


def test_the_state_of_a_run_keeps_momenta_in_half_the_size_and_goes_on_from_them():
    model = random_model(TINY, seed=1).fold_frames().train()
    update = update_of(model)
    step = TrainingStep(plain(loss_of(model)), update)
    update.control(1e-3, 0)
    step(SimpleWindows().batch(0), True)
    saved = copy.deepcopy(update.state())
    momenta = [state["momentum"] for state in saved["optimizers"][1]["state"].values()]
    assert momenta and all(momentum.dtype == torch.bfloat16 for momentum in momenta)
    other = copy.deepcopy(model)
    again = update_of(other)
    again.load_state(saved)
    for network, its_update in ((model, update), (other, again)):
        its_update.control(1e-3, 1)
        TrainingStep(plain(loss_of(network)), its_update)(SimpleWindows().batch(1), True)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
