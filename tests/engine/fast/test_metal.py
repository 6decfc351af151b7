"""On Metal, convolutions of parts of larger tensors are wrong: none may be given to them. No Metal is needed to see."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fmanet_cli.engine.fast import layers
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.training.losses import restoration_loss
from fmanet_cli.training.recipes import find_recipe
from fmanet_cli.training.windows import WindowBatch

CPU = torch.device("cpu")


class ConvolutionInputs(TorchDispatchMode):
    """Counts convolutions, and those of parts of larger tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.all = self.parts = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "conv" in function.overloadpacket.__name__:
            rows = args[0]
            dense = rows.is_contiguous(memory_format=torch.channels_last) or rows.is_contiguous()
            self.all += 1
            self.parts += rows.storage_offset() != 0 or not dense
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("on_metal", [True, False])
def test_convolutions_get_whole_tensors(tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch, on_metal: bool) -> None:
    frames = torch.rand(4, 3, 40, 25, generator=torch.Generator().manual_seed(2))
    plain = StreamingRunner(tiny_model, device=CPU, precision="fp32", strip_bytes=4000)
    states = [plain.frame_state(frame) for frame in frames]
    expected = plain.windows([states[:3], states[1:]])
    monkeypatch.setattr(layers, "needs_whole_inputs", lambda _: on_metal)
    with ConvolutionInputs() as inputs:
        found = plain.windows([states[:3], states[1:]])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert inputs.all > 20
    assert (inputs.parts == 0) is on_metal


def test_pixels_of_another_order_of_memory_are_refused() -> None:
    image = torch.zeros(2, 4, 5, 6)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        layers.pixels(image)
    layers.pixels(channels_last := image.contiguous(memory_format=torch.channels_last)).add_(1)
    assert channels_last.min() == 1


class LackingOnMetal(TorchDispatchMode):
    """Notes what Metal has not, or computes wrongly on some versions: three dimensions, and float64."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        if any(tensor.dtype == torch.float64 for tensor in tensors):
            self.found.add(f"{name} of float64")
        if "pad3d" in name or ("conv" in name and tensors[0].ndim == 5):
            self.found.add(name)
        return result


def streamed(model: FMANet, frames: torch.Tensor) -> None:
    runner = StreamingRunner(model, device=CPU, precision="fp32", strip_bytes=4000)
    with LackingOnMetal() as metal:
        runner.window([runner.frame_state(frame) for frame in frames])
    assert metal.found == set()


def plain(model: FMANet, frames: torch.Tensor) -> None:
    with LackingOnMetal() as metal, torch.no_grad():
        model(frames.transpose(0, 1)[None])
    assert metal.found == {"convolution"}
    with LackingOnMetal() as metal, torch.no_grad():
        model.fold_frames()(frames.transpose(0, 1)[None])
    assert metal.found == set()


def trained(model: FMANet, frames: torch.Tensor) -> None:
    model.fold_frames().train()
    window = frames.transpose(0, 1)[None]
    sharp = window.repeat_interleave(4, dim=3).repeat_interleave(4, dim=4)
    flow = torch.zeros(1, 2, 3, *frames.shape[-2:])
    batch = WindowBatch(window, sharp, flow, flow_valid=flow[:, :1])
    with LackingOnMetal() as metal:
        loss = restoration_loss(model.forward_training(window, sharp), batch, find_recipe("lite").weights)
        loss.total.backward()
    assert metal.found == set()


@pytest.mark.parametrize("compute", [streamed, plain, trained])
def test_nothing_is_asked_of_metal_that_it_lacks(random_tiny_model: FMANet, compute: Any) -> None:
    compute(random_tiny_model, torch.rand(3, 3, 24, 16, generator=torch.Generator().manual_seed(2)))
