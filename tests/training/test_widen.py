"""A network grows without changing what it computes."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import pytest
import torch
from torch import nn

from fmanet_cli.errors import OptionError
from fmanet_cli.model.config import BASE, LITE, FMANetConfig
from fmanet_cli.model.fmanet import FMANet, random_model
from fmanet_cli.training.recipes import find_recipe
from fmanet_cli.training.run_options import RunOptions
from fmanet_cli.training.session import Session, load_start
from fmanet_cli.training.training_step import TrainingStep
from fmanet_cli.training.widen import is_widening, widen
from fmanet_cli.weights.checkpoint import load_model
from tests.training.conftest import SimpleWindows
from tests.training.test_update import loss_of, plain, update_of

SMALL = FMANetConfig(
    dim=12,
    num_rdbs=2,
    growth=4,
    num_dense_layers=2,
    num_flows=2,
    num_frma_blocks=2,
    num_attention_blocks=2,
    num_heads=2,
    ffn_expansion=1.5,
    degradation_kernel_size=6,
    restoration_kernel_size=3,
    residual_dim=4,
)


def spoiled(model: FMANet) -> FMANet:
    """With biases, norms and temperatures that are no longer those of the start."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1 or parameter.shape[-1] == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def outputs(model: FMANet) -> list[torch.Tensor]:
    batch = SimpleWindows().batch(0)
    dtype = next(model.parameters()).dtype
    with torch.no_grad():
        found = model.fold_frames().forward_training(batch.blurry.to(dtype), batch.sharp.to(dtype))
    return [getattr(found, field.name) for field in dataclasses.fields(found)]


@pytest.mark.parametrize(
    ("model", "config"),
    [
        (lambda: load_model("lite"), BASE),
        (lambda: load_model("lite"), dataclasses.replace(LITE, dim=48)),
        (lambda: random_model(LITE, seed=2), BASE),
        (lambda: random_model(SMALL, seed=3), dataclasses.replace(SMALL, dim=36, num_rdbs=4, residual_dim=7)),
        (lambda: random_model(SMALL, seed=4), dataclasses.replace(SMALL, dim=24, num_flows=4, growth=9)),
    ],
)
def test_the_wide_network_computes_what_the_narrow_one_does(model, config):
    narrow = spoiled(model()).double()
    wide = widen(narrow, config, seed=7)
    assert wide.config == config
    assert wide.count_parameters() > 1.5 * narrow.count_parameters()
    expected = outputs(narrow)
    # Flows of several pixels and logits round more coarsely than restored frames, which depend on them.
    largest = max(float(output.abs().max()) for output in expected)
    for mine, theirs in zip(outputs(wide), expected, strict=True):
        assert float((mine - theirs).abs().max()) < 1e-12 * max(1.0, largest)


def equal_channels(model: FMANet) -> list[str]:
    """The convolutions two of whose output channels are the same everywhere."""
    found = []

    def watch(name):
        def hook(_module, _inputs, output):
            channels = output.transpose(0, 1).flatten(1)
            if any(torch.equal(channels[a], channels[b]) for a, b in combinations(range(len(channels)), 2)):
                found.append(name)

        return hook

    hooks = [
        module.register_forward_hook(watch(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Conv3d)
    ]
    batch = SimpleWindows().batch(3)
    with torch.no_grad():
        model.forward_training(batch.blurry, batch.sharp)
    for hook in hooks:
        hook.remove()
    return found


def test_copies_part_in_the_first_step():
    model = widen(spoiled(random_model(SMALL, seed=1)), dataclasses.replace(SMALL, dim=24, num_flows=4, num_rdbs=3))
    model.fold_frames().train()
    assert equal_channels(model)
    update = update_of(model)
    update.control(1.5e-3, 0)
    TrainingStep(plain(loss_of(model)), update)(SimpleWindows().batch(0), True)
    assert equal_channels(model) == []


def test_base_has_the_size_that_its_bar_allows():
    count = random_model(BASE).count_parameters()
    assert 1_300_000 <= count <= 3_000_000
    assert count * 4 <= 12e6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_frma_blocks": 3}, "num_frma_blocks is 2 in one network and 3 in the other"),
        ({"dim": 48, "num_heads": 8}, "num_heads is 4 in one network and 8 in the other"),
        ({"growth": 8}, "growth can only grow, from 12, got 8"),
        ({"dim": 72, "num_flows": 8}, "copies of channels would leave"),
        ({"dim": 36}, "dim can grow to a multiple of 24 only, got 36"),
    ],
)
def test_what_is_no_widening_is_refused(changes, message):
    config = dataclasses.replace(LITE, **changes)
    assert not is_widening(LITE, config)
    with pytest.raises(OptionError, match=message):
        widen(random_model(LITE), config)


def test_the_base_recipe_starts_from_lite(tmp_path):
    assert is_widening(LITE, BASE) and not is_widening(LITE, LITE)
    session = Session(
        recipe=find_recipe("base"),
        run=RunOptions(folder=tmp_path),
        source_kind="photos",
        source_folder=tmp_path,
        init="lite",
    )
    narrow, wide = load_model("lite"), load_start(session)
    assert wide.config == BASE
    window = SimpleWindows().batch(0).blurry
    torch.testing.assert_close(wide(window), narrow(window), atol=1e-5, rtol=0)
