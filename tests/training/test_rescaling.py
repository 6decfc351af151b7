"""The degradation branch is brought into the range of 16-bit numbers without changing a digit of the result."""

from __future__ import annotations

import torch

from fmanet_cli.model.fmanet import FMANet, random_model
from fmanet_cli.training.rescaling import LARGEST_EXPONENT, branch_activations, find_scale, rescale, scaled_parameters
from fmanet_cli.training.training_step import TrainingStep
from fmanet_cli.weights.checkpoint import load_model
from tests.training.conftest import TINY, SimpleWindows
from tests.training.test_update import loss_of, plain, update_of


def enlarged(model: FMANet, factor: float) -> FMANet:
    """The same network with a longer branch."""
    with torch.no_grad():
        for parameter in scaled_parameters(model):
            parameter.mul_(factor)
    return model


def test_a_branch_beyond_float16_comes_into_range_and_nothing_else_changes():
    model = enlarged(random_model(TINY, seed=1), 2.0**24).fold_frames()
    window = SimpleWindows().batch(0).blurry
    before = model(window)
    assert max(branch_activations(model, window).values()) > 65_504
    scale = find_scale(model, window)
    rescale([model], [], scale)
    largest = max(branch_activations(model, window).values())
    assert 2 ** (LARGEST_EXPONENT - 1) <= largest < 2**LARGEST_EXPONENT
    assert torch.equal(model(window), before)
    assert find_scale(model, window) == 1.0


def test_every_activation_of_the_branch_is_watched():
    model = load_model("lite").fold_frames()
    watched = branch_activations(model, SimpleWindows().batch(0).blurry)
    assert {name.split(".")[0] for name in watched} == {"d_conv", "FRMA_blocks"}
    for block in range(2):
        for part in ("rdb_KD.layer.0.conv", "rdb_KD.conv", "conv_KD", "multi_attn_block.0.da_attn.q_dwconv"):
            assert f"FRMA_blocks.{block}.{part}" in watched
    assert not any("co_attn" in name or "kv" in name for name in watched)


def test_the_embedded_lite_keeps_every_activation_below_8192_once_it_is_saved():
    model = load_model("lite").fold_frames()
    window = SimpleWindows().batch(0).blurry
    rescale([model], [], find_scale(model, window))
    largest = 0.0

    def watch(_module, _inputs, output):
        nonlocal largest
        if isinstance(output, torch.Tensor):
            largest = max(largest, float(output.abs().max()))

    for layer in model.modules():
        layer.register_forward_hook(watch)
    with torch.no_grad():
        model(window)
    assert largest < 8192


def test_gradients_that_optimisers_remember_are_rescaled_too():
    """The gradient of a parameter that shrank is as much larger."""
    runs = []
    for scale in (1.0, 0.25):
        model = random_model(TINY, seed=2).fold_frames().train()
        update = update_of(model)
        step = TrainingStep(plain(loss_of(model)), update)
        update.control(1e-3, 0)
        step(SimpleWindows().batch(0), True)
        rescale([model], update.optimizers, scale)
        weight, bias = scaled_parameters(model)[:2]
        adam, muon = update.optimizers
        runs.append((muon.state[weight]["momentum"], adam.state[bias]["exp_avg"], adam.state[bias]["exp_avg_sq"]))
    for before, after, factor in zip(*runs, (4.0, 4.0, 16.0), strict=True):
        assert torch.equal(after, before * factor)
