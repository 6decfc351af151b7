"""How much memory a picture needs, and the largest tile that fits."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from fmanet_cli.engine.device import DTYPES, Precision
from fmanet_cli.engine.tiling import MIN_TILE
from fmanet_cli.model.config import FMANetConfig

USABLE_SHARE = 0.8
"""Share of the free memory that a first guess may plan with; a wrong guess is mended by smaller tiles."""


def largest_tile(height: int, width: int, *, config: FMANetConfig, device: torch.device, precision: Precision) -> int:
    """Tile side in low-resolution pixels that should fit into the free memory; 0 if the whole picture does."""
    available = free_memory(device)
    if available is None:
        return 0
    pixels = available * USABLE_SHARE / bytes_per_pixel(config, precision)
    if pixels >= height * width:
        return 0
    return max(MIN_TILE, int(pixels**0.5) // 8 * 8)


def bytes_per_pixel(config: FMANetConfig, precision: Precision) -> float:
    """Peak bytes per low-resolution pixel of the streaming network, counted from the tensors alive at its peak.

    Kept features of a window, the widest tensors of a refinement block, and the float32 tensors that exist in any
    precision: warped features, the restored picture and its copies.
    """
    size = DTYPES[precision].itemsize
    kept = config.num_frames * (2 * config.num_frma_blocks + 2) * config.dim
    working = config.num_frames * (6 * config.dim + 4 * config.growth * config.num_dense_layers)
    wide = config.num_frames * (2 * config.dim + 4 * config.flow_channels) + 6 * 3 * config.scale**2
    return (kept + working) * size + wide * torch.float32.itemsize


def free_memory(device: torch.device) -> int | None:
    """Free bytes of the device, with what torch keeps of it unused; None where the system does not say."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type != "cpu":
        return None
    information = Path("/proc/meminfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
