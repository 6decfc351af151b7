"""What is planned with is what is alive."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fmanet_cli.engine import memory
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.engine.memory import bytes_per_pixel, largest_tile
from fmanet_cli.model.config import LITE, PAPER, FMANetConfig
from fmanet_cli.model.fmanet import FMANet

CPU, META = torch.device("cpu"), torch.device("meta")


class AliveBytes(TorchDispatchMode):
    """Adds up the storages of all tensors made inside that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._users: dict[int, int] = {}
        self._known: dict[int, weakref.ref[torch.Tensor]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor)
        self.peak = max(self.peak, self.now)
        return result

    def _see(self, tensor: torch.Tensor) -> None:
        known = self._known.get(id(tensor))
        if known is not None and known() is tensor:
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._users:
            self.now += size
        self._users[key] = self._users.get(key, 0) + 1
        self._known[id(tensor)] = weakref.ref(tensor)
        weakref.finalize(tensor, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key]
            self.now -= size


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("config", [PAPER, LITE], ids=["paper", "lite"])
def test_the_plan_covers_the_tensors_of_a_window_and_little_more(
    monkeypatch: pytest.MonkeyPatch, config: FMANetConfig, precision: Any
) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    with META:
        model = FMANet(config)
    runner = StreamingRunner(model, device=META, precision=precision, strip_bytes=8 << 20)
    height, width = 360, 640
    with torch.no_grad(), AliveBytes() as alive:
        states = [runner.frame_state(torch.empty(3, height, width, device=META)) for _ in range(3)]
        runner.window(states)
    planned = height * width * bytes_per_pixel(config, precision)
    # Beside the window there are restored pictures on their way to the encoder.
    assert 0.7 * planned < alive.peak < planned


def test_the_largest_tile_leaves_room(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = (memory.WORKSPACE_BYTES + 720 * 1280 * bytes_per_pixel(PAPER, "bf16")) / memory.USABLE_SHARE
    sizes = {"config": PAPER, "device": CPU, "precision": "bf16"}
    for free, expected in ((None, 0), (needed + 1000, 0), (needed * 0.9, 904), (1 << 20, memory.MIN_TILE)):
        monkeypatch.setattr(memory, "free_memory", lambda _, free=free: free)
        assert largest_tile(720, 1280, **sizes) == expected
