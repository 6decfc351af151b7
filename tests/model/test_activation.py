"""The network's own activation and joins: the plain values and gradients, and nothing packed for the backward pass."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from functorch.compile import make_boxed_func, min_cut_rematerialization_partition
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from fmanet_cli.model.activation import NEGATIVE_SLOPE, Activation, append_activated, join_channels
from fmanet_cli.model.config import LITE
from fmanet_cli.model.fmanet import random_model
from fmanet_cli.model.layers import FlowHead, ResidualDenseBlock, ResidualDenseChain, feature_extractor, two_convs
from fmanet_cli.model.restoration import PixelShuffleUpsampler

FORMATS = [torch.contiguous_format, torch.channels_last]


def plain_append(features, new):
    return torch.cat((features, F.leaky_relu(new, NEGATIVE_SLOPE)), dim=1)


def tensors(memory_format, dtype, *channels):
    torch.manual_seed(0)
    return [
        torch.randn(2, count, 5, 6, dtype=dtype).contiguous(memory_format=memory_format).requires_grad_()
        for count in channels
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(
    ("ours", "plain", "channels"),
    [
        (append_activated, plain_append, (4, 3)),
        (join_channels, lambda *parts: torch.cat(parts, dim=1), (4, 3, 5)),
        (Activation(), lambda features: F.leaky_relu(features, NEGATIVE_SLOPE), (6,)),
    ],
)
def test_values_and_gradients_are_the_plain_ones_bit_for_bit(ours, plain, channels, memory_format, dtype):
    inputs = tensors(memory_format, dtype, *channels)
    results, gradients = [], []
    for function in (ours, plain):
        result = function(*inputs)
        weight = torch.linspace(-1, 1, result.numel(), dtype=dtype).view_as(result)
        gradients.append(torch.autograd.grad((result * weight).sum(), inputs))
        results.append(result)
    assert torch.equal(*results)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(*gradients, strict=True))


@pytest.mark.parametrize("memory_format", FORMATS)
def test_gradients_of_a_join_have_no_gaps(memory_format):
    first, second = tensors(memory_format, torch.float32, 4, 3)
    for gradient in torch.autograd.grad(append_activated(first, second).square().sum(), (first, second)):
        assert gradient.is_contiguous(memory_format=memory_format)


def test_mixed_precisions_get_gradients_of_their_own():
    first = torch.randn(1, 4, 2, 2, requires_grad=True)
    second = torch.randn(1, 3, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    for function in (append_activated, join_channels):
        result = function(first, second)
        assert result.dtype == torch.float32
        gradients = torch.autograd.grad(result.sum(), (first, second))
        assert [gradient.dtype for gradient in gradients] == [torch.float32, torch.bfloat16]


MODULES = {
    "residual dense block": lambda: ResidualDenseBlock(6, 4, 3),
    "residual dense chain": lambda: ResidualDenseChain(6, 4, 2, 2),
    "extractor": lambda: feature_extractor(6, 6, 4, 2, 1),
    "two convolutions": lambda: two_convs(6, 8, 5),
    "flow head": lambda: FlowHead(6, 8, 5),
    "upsampler": lambda: nn.Sequential(PixelShuffleUpsampler(6, 4), nn.Conv2d(4, 3, 3)),
}


@pytest.mark.parametrize("name", [name for name in MODULES if name != "upsampler"])
def test_folding_keeps_values_and_gradients(name):
    torch.manual_seed(1)
    module = MODULES[name]().double()
    window = torch.randn(2, 6, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    results = []
    for folded in (False, True):
        for part in module.modules():
            part.folded = folded
        result = module(window)
        gradients = torch.autograd.grad(result.sin().sum(), [window, *module.parameters()])
        results.append((result, *gradients))
    for plain, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, atol=1e-11, rtol=0)


@pytest.mark.parametrize("name", ["residual dense block", "two convolutions", "upsampler"])
def test_a_compiler_keeps_no_masks_for_the_backward_pass(name):
    from torch._dynamo.backends.common import aot_autograd
    from torch._inductor.decomposition import select_decomp_table

    torch.manual_seed(2)
    module = MODULES[name]()
    for part in module.modules():
        part.folded = True
    image = name == "upsampler"
    window = torch.randn(2, 6, 8, 8) if image else torch.randn(2, 6, 3, 8, 8)
    memory_format = torch.channels_last if image else torch.channels_last_3d
    window = window.contiguous(memory_format=memory_format).requires_grad_()
    kept: list[torch.dtype] = []

    def forward_graph(graph, _):
        [output] = [node for node in graph.graph.nodes if node.op == "output"]
        kept.extend(node.meta["val"].dtype for node in output.args[0] if hasattr(node.meta.get("val"), "dtype"))
        return make_boxed_func(graph)

    backend = aot_autograd(
        fw_compiler=forward_graph,
        bw_compiler=lambda graph, _: make_boxed_func(graph),
        partition_fn=min_cut_rematerialization_partition,
        decompositions=select_decomp_table(),
    )
    torch.compile(module, backend=backend)(window).sum().backward()
    assert len(kept) > 2
    assert torch.bool not in kept


class Padded(TorchDispatchMode):
    """Counts paddings of more than four dimensions, which are silently wrong on MPS."""

    def __init__(self) -> None:
        super().__init__()
        self.deep = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        if "pad" in function.overloadpacket.__name__:
            self.deep += any(isinstance(value, torch.Tensor) and value.ndim > 4 for value in arguments)
        return function(*arguments, **(options or {}))


def test_a_training_step_pads_nothing_in_five_dimensions():
    model = random_model(dataclasses.replace(LITE, num_rdbs=1)).fold_frames().train()
    window, sharp = torch.rand(1, 3, 3, 8, 8), torch.rand(1, 3, 3, 32, 32)
    with Padded() as padded:
        outputs = model.forward_training(window, sharp)
        sum(getattr(outputs, field.name).sum() for field in dataclasses.fields(outputs)).backward()
    assert padded.deep == 0
