"""What is planned with is what is alive."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fmanet_cli.engine import memory
from fmanet_cli.engine.fast import triton_kernels
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.engine.memory import bytes_per_pixel, free_memory, largest_tile
from fmanet_cli.model.config import LITE, PAPER, FMANetConfig
from fmanet_cli.model.fmanet import FMANet

CPU, META, CUDA = torch.device("cpu"), torch.device("meta"), torch.device("cuda", 0)


class AliveBytes(TorchDispatchMode):
    """Adds up the storages of all tensors made inside that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._users: dict[int, int] = {}
        self._known: dict[int, weakref.ref[torch.Tensor]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if "conv" in function.overloadpacket.__name__ and result.device.type == "meta":
            # As on every device; without values, torch forgets it.
            result = result.contiguous(memory_format=torch.channels_last)
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
@pytest.mark.parametrize("config", [pytest.param(PAPER, marks=pytest.mark.slow), LITE], ids=["paper", "lite"])
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
    # Beside the window there are restored frames on their way to the encoder.
    assert 0.7 * planned < alive.peak < planned


@pytest.mark.parametrize("strip_bytes", [64 << 20, pytest.param(1 << 30, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("config", "height", "width", "windows"),
    [
        (PAPER, 90, 160, 4),
        (PAPER, 180, 320, 1),
        pytest.param(PAPER, 180, 320, 8, marks=pytest.mark.slow),
        pytest.param(PAPER, 360, 640, 1, marks=pytest.mark.slow),
        pytest.param(PAPER, 720, 1280, 1, marks=pytest.mark.slow),
        (LITE, 180, 320, 8),
        (LITE, 720, 1280, 1),
    ],
)
def test_the_plan_for_a_gpu_covers_a_pass_with_channels_rounded_up(
    monkeypatch: pytest.MonkeyPatch, config: FMANetConfig, height: int, width: int, windows: int, strip_bytes: int
) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    for name in ("warp_into", "dynamic_upsample_into"):
        monkeypatch.setattr(triton_kernels, name, lambda *_, **__: None)
    with META:
        model = FMANet(config)
    monkeypatch.setattr(memory, "strip_bytes", lambda _: strip_bytes)
    runner = StreamingRunner(
        model, device=META, precision="fp16", strip_bytes=strip_bytes, channel_multiple=8, fused=True
    )
    count = config.num_frames + windows - 1
    with torch.no_grad(), AliveBytes() as alive:
        states = [runner.frame_state(torch.empty(3, height, width, device=META)) for _ in range(count)]
        runner.windows([states[first : first + config.num_frames] for first in range(windows)])
    planned = height * width * bytes_per_pixel(config, "fp16", device=CUDA, windows=windows)
    assert 0.5 * planned < alive.peak
    # What is left of the workspace is for the libraries below.
    assert alive.peak < planned + memory.workspace_bytes(CUDA) - (256 << 20)


def test_strips_grow_with_the_memory_of_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {1: 64 << 20, 6: 256 << 20, 12: 512 << 20, 24: 1 << 30, 80: 1 << 30}
    assert {gigabytes: memory.strip_bytes_of(gigabytes << 30) for gigabytes in sizes} == sizes
    memory.strip_bytes.cache_clear()
    for free in (12 << 30, 6 << 30):
        monkeypatch.setattr(memory, "free_memory", lambda _, free=free: free)
        # A network that was built with it must be planned with it.
        assert memory.strip_bytes(CUDA) == 512 << 20
    assert memory.workspace_bytes(CUDA) == (1 << 30) + (256 << 20)
    memory.strip_bytes.cache_clear()


def test_the_largest_tile_leaves_room(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = (memory.workspace_bytes(CPU) + 720 * 1280 * bytes_per_pixel(PAPER, "bf16")) / memory.USABLE_SHARE
    sizes = {"config": PAPER, "device": CPU, "precision": "bf16"}
    for free, expected in ((None, 0), (needed + 1000, 0), (needed * 0.9, 904), (1 << 20, memory.MIN_TILE)):
        monkeypatch.setattr(memory, "free_memory", lambda _, free=free: free)
        assert largest_tile(720, 1280, **sizes) == expected


def test_a_card_under_windows_is_planned_without_what_the_system_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    gigabyte = 1 << 30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (8 * gigabyte, 8 * gigabyte))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=8 * gigabyte))
    shares: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, _: shares.append(share))
    memory.cap_device_memory(CUDA)
    assert (free_memory(CUDA), shares) == (8 * gigabyte, [])
    monkeypatch.setattr(memory.sys, "platform", "win32")
    memory.cap_device_memory(CUDA)
    assert (free_memory(CUDA), shares) == (6.5 * gigabyte, [6.5 / 8])


def group(folder: Path, limit: str, used: int, *, cached: int = 0, version: int = 2) -> None:
    names = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }[version]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cached}\n")


@pytest.mark.parametrize("version", [1, 2])
def test_control_groups_leave_what_they_allow(tmp_path: Path, version: int) -> None:
    line, mount = {1: ("4:memory:/job/step", "memory"), 2: ("0::/job/step", "")}[version]
    (own := tmp_path / "cgroup").write_text(f"9:cpu:/elsewhere\n{line}\n")
    group(tmp_path / mount / "job/step", "max" if version == 2 else "9223372036854771712", 500, version=version)
    group(tmp_path / mount / "job", "3000", 2500, cached=1000, version=version)
    group(tmp_path / mount, "8000", 3000, version=version)
    assert list(memory._free_of_groups(own, tmp_path)) == [1500, 5000]


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    (own := tmp_path / "cgroup").write_text("4:memory:/docker/8f0b\n")
    group(tmp_path / "memory", "1000", 900, version=1)
    assert list(memory._free_of_groups(own, tmp_path)) == [100]
    assert list(memory._free_of_groups(tmp_path / "none", tmp_path)) == []
    (tmp_path / "memory/memory.usage_in_bytes").write_text("2000")
    assert list(memory._free_of_groups(own, tmp_path)) == [0]


@pytest.fixture
def real_group() -> Iterator[Path]:
    """A control group of the kernel's own with 2,000 MB, where tests may make one."""
    mounts = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    names = "memory.limit_in_bytes", "memory.max"
    for mount, name in zip(mounts, names, strict=True):
        folder = mount / f"fmanet-test-{os.getpid()}"
        try:
            folder.mkdir()
            try:
                # The kernel has put it there, unless this is an ordinary folder.
                os.truncate(folder / name, 0)
                (folder / name).write_text("2000000000")
                yield folder
                return
            finally:
                folder.rmdir()
        except OSError:
            continue
    pytest.skip("no control group can be made here")


def test_a_real_control_group_is_planned_with(real_group: Path) -> None:
    code = """if True:
        import os, sys, torch
        from pathlib import Path
        from fmanet_cli.engine.memory import free_memory, largest_tile
        from fmanet_cli.model.config import PAPER
        cpu = torch.device("cpu")
        before = free_memory(cpu)
        Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
        tile = largest_tile(720, 1280, config=PAPER, device=cpu, precision="fp32")
        print(before, free_memory(cpu), tile)
    """
    done = subprocess.run([sys.executable, "-c", code, str(real_group)], capture_output=True, text=True, check=True)
    before, free, tile = map(int, done.stdout.split())
    assert free <= 2_000_000_000
    assert free < before or before <= 2_000_000_000
    assert 0 < tile < 720


def test_the_smallest_of_all_limits_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=5000))
    monkeypatch.setattr(memory, "_free_of_address_space", lambda: None)
    monkeypatch.setattr(memory, "_free_of_groups", lambda: iter([]))
    assert free_memory(CPU) == 5000
    monkeypatch.setattr(memory, "_free_of_groups", lambda: iter([7000, 3000]))
    assert free_memory(CPU) == 3000
    monkeypatch.setattr(memory, "_free_of_address_space", lambda: 2000)
    assert free_memory(CPU) == 2000
