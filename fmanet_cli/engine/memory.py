"""How much memory a frame needs, how much there is, and the largest tile that fits."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from fmanet_cli.engine.device import DTYPES, Precision
from fmanet_cli.engine.tiling import MIN_TILE
from fmanet_cli.model.config import IMAGE_CHANNELS, FMANetConfig

USABLE_SHARE = 0.8
"""Share of the free memory that a first guess may plan with; a wrong guess is mended by smaller tiles."""

CHANNEL_MULTIPLE = 8
"""Channels that CUDA's matrix units take at a time in 16 bit; other numbers fall back to slower kernels."""

_STRIP_BYTES = {"cpu": 8 << 20, "mps": 128 << 20}
"""About how many bytes the widest tensor of a strip has, by kind of device, where free memory does not decide."""

_STRIPS_OF_A_CARD = 24
"""A strip takes this part of a card's free memory: larger ones save kernel starts, and rows computed twice."""

WORK_IN_A_PASS = 320 * 180 * 9_766_503
"""Pixels times parameters that fill a GPU: the paper's network at 320x180. Less work is computed several windows at a
time."""

_DISPLAY_BYTES = 1536 << 20
"""What Windows itself and other programs have of a card, which the driver does not count."""

_WITHOUT_LIMIT = 1 << 60
"""Limits of control groups from here on mean none."""


def largest_tile(height: int, width: int, *, config: FMANetConfig, device: torch.device, precision: Precision) -> int:
    """Tile side in low-resolution pixels that should fit into the free memory; 0 if the whole frame does."""
    available = free_memory(device)
    if available is None:
        return 0
    pixels = (available * USABLE_SHARE - workspace_bytes(device)) / bytes_per_pixel(config, precision, device=device)
    if pixels >= height * width:
        return 0
    return max(MIN_TILE, int(max(0.0, pixels) ** 0.5) // 8 * 8)


def fits(
    pixels: int, *, windows: int, config: FMANetConfig, device: torch.device, precision: Precision, factor: float = 1.0
) -> bool:
    """Whether so many windows of whole frames in one pass should fit; `factor`: times what they take."""
    available = free_memory(device)
    if available is None:
        return True
    needed = pixels * bytes_per_pixel(config, precision, device=device, windows=windows)
    return factor * needed + workspace_bytes(device) <= available * USABLE_SHARE


def bytes_per_pixel(
    config: FMANetConfig, precision: Precision, *, device: torch.device | None = None, windows: int = 1
) -> float:
    """Peak bytes per low-resolution pixel of the streaming network, counted from the tensors alive at its peak.

    That is the alignment in Net^R: the kept features of the windows, those of the degradation kernels, what one frame's
    alignment makes, and the float32 tensors that exist in any precision: the features that are warped, flow-mask pairs,
    the restored frame and its copies.

    Args:
        config: of the network.
        precision: of its features.
        device: rounds channels up as it wants them; None = not at all.
        windows: computed in one pass, which share the states of their frames but copy them side by side.
    """
    size, frames = DTYPES[precision].itemsize, config.num_frames
    dim = channels_laid_out(config.dim, frames, multiple_of(device, precision))
    kept = (frames + windows - 1) * (2 * config.num_frma_blocks + 2) * dim
    working = (frames + 4) * dim + 2 * config.flow_channels + (frames + 1) * dim * (windows > 1)
    wide = dim + (frames + 2) * config.flow_channels + 3 * IMAGE_CHANNELS * config.scale**2
    return kept * size + windows * (working * size + wide * torch.float32.itemsize)


def multiple_of(device: torch.device | None, precision: Precision) -> int:
    """What numbers of channels are rounded up to a multiple of."""
    return CHANNEL_MULTIPLE if device is not None and device.type == "cuda" and precision != "fp32" else 1


def channels_laid_out(channels: int, frames: int, multiple: int) -> int:
    """How many channels a tensor has instead of so many, which belong to `frames` frames in equal parts."""
    return frames * (-(-channels // frames // multiple) * multiple)


def workspace_bytes(device: torch.device) -> int:
    """What a window takes however small it is: strips, and the buffers of the libraries below."""
    if device.type == "cpu":
        return 384 << 20
    return 2 * strip_bytes(device) + (256 << 20)


@functools.cache
def strip_bytes(device: torch.device) -> int:
    """About how many bytes the widest tensor of a strip has; decided once, so that plans and networks agree."""
    if device.type != "cuda":
        return _STRIP_BYTES[device.type]
    return strip_bytes_of(free_memory(device) or 0)


def strip_bytes_of(free: int) -> int:
    """The same of a card with so many free bytes."""
    return min(max(free // _STRIPS_OF_A_CARD, 64 << 20), 1 << 30)


def free_memory(device: torch.device) -> int | None:
    """Free bytes of the device, with what torch keeps of it unused; None where the system does not say."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free, total = torch.cuda.mem_get_info(device)
        if sys.platform == "win32":
            free = min(free, total - _DISPLAY_BYTES)
        return free + unused
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    if device.type != "cpu":
        return None
    found = (psutil.virtual_memory().available, _free_of_address_space(), *_free_of_groups())
    return min(size for size in found if size is not None)


def cap_device_memory(device: torch.device) -> None:
    """Make Windows say that a card's memory is used up: its driver would go on in the machine's, many times slower."""
    if device.type == "cuda" and sys.platform == "win32":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(max(0.5, 1 - _DISPLAY_BYTES / total), device)


def _free_of_address_space() -> int | None:
    """What `ulimit -v` leaves of this process; None without a limit."""
    try:
        import resource
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else max(0, limit - psutil.Process().memory_info().vms)


def _free_of_groups(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """What each control group with a limit, of this process or above it, leaves; containers and Slurm set them."""
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            names = ("memory.max", "memory.current", "inactive_file")
            mounts = [root, root / "unified"]
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            mounts = [root / "memory", root / controllers]
        else:
            continue
        mount = next((mount for mount in mounts if mount.is_dir()), None)
        if mount is None:
            continue
        # Inside a container the path may be the host's, of which only its own end is mounted.
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(mount):
                break
            free = _free_of_group(folder, *names)
            if free is not None:
                yield free


def _free_of_group(folder: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    try:
        most = (folder / limit).read_text().strip()
        if not most.isdigit() or int(most) >= _WITHOUT_LIMIT:
            return None
        used = int((folder / usage).read_text())
        fields = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    # Cached files count as used, and go when memory is needed.
    return max(0, int(most) - used + int(fields.get(reclaimable, 0)))
