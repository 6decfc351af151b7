"""On Metal, convolutions of parts of larger tensors are wrong: none may be given to them. No Metal is needed to see."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fmanet_cli.engine.fast import layers
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.model.fmanet import FMANet

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
    picture = torch.zeros(2, 4, 5, 6)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        layers.pixels(picture)
    layers.pixels(channels_last := picture.contiguous(memory_format=torch.channels_last)).add_(1)
    assert channels_last.min() == 1
