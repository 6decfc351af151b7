"""Muon."""

from __future__ import annotations

import pytest
import torch

from fmanet_cli.model.fmanet import random_model
from fmanet_cli.training.muon import Muon, orthogonalized, split_parameters
from tests.training.conftest import TINY


@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8), (1, 8, 8)])
def test_singular_values_come_near_one_and_directions_stay(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape, dtype=torch.float64)
    result = orthogonalized(matrices)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    assert result.shape == matrices.shape
    inner = left.mT @ result @ right.mT
    diagonal = inner.diagonal(dim1=1, dim2=2)
    well_conditioned = values > 0.05 * values[:, :1]
    assert well_conditioned.any(dim=1).all()
    assert diagonal[well_conditioned].min() > 0.6
    assert diagonal.max() < 1.3
    assert (inner - torch.diag_embed(diagonal)).abs().max() < 1e-9


def test_a_zero_gradient_moves_nothing():
    weight = torch.nn.Parameter(torch.ones(8, 8))
    weight.grad = torch.zeros(8, 8)
    Muon([weight], lr=1.0).step()
    assert torch.equal(weight, torch.ones(8, 8))


def test_the_first_step_is_the_orthogonal_gradient_at_adams_size():
    torch.manual_seed(1)
    kernels = [torch.nn.Parameter(torch.zeros(8, 4, 3, 3)) for _ in range(2)]
    for kernel in kernels:
        kernel.grad = torch.randn(8, 4, 3, 3)
    Muon(kernels, lr=0.1).step()
    for kernel in kernels:
        expected = orthogonalized(kernel.grad.view(1, 8, 36))[0] * -0.1 * 0.2 * 6
        torch.testing.assert_close(kernel.detach().view(8, 36), expected)
        assert 0.015 < kernel.detach().square().mean().sqrt() < 0.025


def test_every_parameter_has_one_optimizer_and_thin_ones_are_adams():
    model = random_model(TINY, seed=0)
    named = dict(model.named_parameters())
    matrices, rest = split_parameters(named.values())
    assert len(matrices) + len(rest) == len(named)
    of_muon = {id(parameter) for parameter in matrices}
    names = {name for name, parameter in named.items() if id(parameter) in of_muon}
    assert "restoration_network.r_conv.2.weight" in names
    assert "restoration_network.res_conv2.weight" not in names
    assert not any("dwconv" in name or "temperature" in name or name.endswith("bias") for name in names)


def test_the_momentum_is_kept_in_the_state():
    torch.manual_seed(2)
    gradients = torch.randn(3, 8, 12)
    broken, unbroken = (torch.nn.Parameter(torch.zeros(8, 12)) for _ in range(2))
    straight = Muon([unbroken], lr=0.1)
    for gradient in gradients:
        unbroken.grad = gradient.clone()
        straight.step()
    optimizer = Muon([broken], lr=0.1)
    for gradient in gradients:
        state = optimizer.state_dict()
        optimizer = Muon([broken], lr=0.1)
        optimizer.load_state_dict(state)
        broken.grad = gradient.clone()
        optimizer.step()
    assert torch.equal(broken, unbroken)
