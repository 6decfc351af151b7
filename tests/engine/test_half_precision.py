"""fp16 holds every number of the networks that are shipped: on a CPU, where it is slow, as on a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fmanet_cli.engine.fast import network as streaming
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.weights.checkpoint import load_model
from fmanet_cli.weights.registry import PRETRAINED
from support.windows import window_of

CPU = torch.device("cpu")
STREET = Path(__file__).parents[2] / "examples" / "street.mp4"
NETWORKS = [row.name for row in PRETRAINED.values() if row.embedded] + ["random:paper"]
SCENES = ["street", "noise", "black", "white"]
CASES = [
    # Half precision takes seconds a window with the paper's network.
    pytest.param(name, scene, marks=pytest.mark.slow if name == "random:paper" and scene != "street" else ())
    for name in NETWORKS
    for scene in SCENES
]
LARGEST = torch.finfo(torch.float16).max / 8


class LargestHalf(TorchDispatchMode):
    """The largest magnitude among the 16-bit tensors that operations inside give."""

    def __init__(self) -> None:
        super().__init__()
        self.found = 0.0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float16:
                if "empty" in str(function):
                    tensor.zero_()
                self.found = max(self.found, float(tensor.abs().max()))
        return result


def frames(scene: str) -> torch.Tensor:
    """(3, 3, 20, 24) float32: three frames in a row."""
    if scene == "street":
        with VideoReader(STREET) as reader:
            images = [frame.image[60:80, 100:124] for frame, _ in zip(reader, range(3), strict=False)]
        return torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1) for image in images])
    if scene == "noise":
        return torch.rand(3, 3, 20, 24, generator=torch.Generator().manual_seed(7))
    return torch.full((3, 3, 20, 24), float(scene == "white"))


@pytest.mark.parametrize(("name", "scene"), CASES)
def test_half_precision_stays_in_range_and_close_to_float32(name: str, scene: str) -> None:
    model = load_model(name)
    expected = window_of(StreamingRunner(model, device=CPU, precision="fp32"), frames(scene))
    # As a GPU lays it out.
    half = StreamingRunner(model, device=CPU, precision="fp16", channel_multiple=8)
    with LargestHalf() as largest:
        found = window_of(half, frames(scene))
    assert found.isfinite().all()
    assert largest.found < LARGEST
    noise = (found.clamp(0, 1) - expected.clamp(0, 1)).square().mean()
    assert noise < 10**-5.5


@pytest.mark.parametrize("name", NETWORKS)
def test_the_scale_that_fp16_needs_changes_no_bit_of_float32(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    model, street = load_model(name), frames("street")
    scaled = window_of(StreamingRunner(model, device=CPU, precision="fp32"), street)
    monkeypatch.setattr(streaming, "KERNEL_BRANCH_SCALE", 1.0)
    assert torch.equal(window_of(StreamingRunner(model, device=CPU, precision="fp32"), street), scaled)
