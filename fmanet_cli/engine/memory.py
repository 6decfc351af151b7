"""How much memory a picture needs, and the largest tile that fits."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from fmanet_cli.engine.device import DTYPES, Precision
from fmanet_cli.engine.tiling import MIN_TILE
from fmanet_cli.model.config import IMAGE_CHANNELS, FMANetConfig

USABLE_SHARE = 0.8
"""Share of the free memory that a first guess may plan with; a wrong guess is mended by smaller tiles."""

WORKSPACE_BYTES = 384 << 20
"""What a window takes however small it is: strips, and the buffers of the libraries below."""


def largest_tile(height: int, width: int, *, config: FMANetConfig, device: torch.device, precision: Precision) -> int:
    """Tile side in low-resolution pixels that should fit into the free memory; 0 if the whole picture does."""
    available = free_memory(device)
    if available is None:
        return 0
    pixels = (available * USABLE_SHARE - WORKSPACE_BYTES) / bytes_per_pixel(config, precision)
    if pixels >= height * width:
        return 0
    return max(MIN_TILE, int(max(0.0, pixels) ** 0.5) // 8 * 8)


def bytes_per_pixel(config: FMANetConfig, precision: Precision) -> float:
    """Peak bytes per low-resolution pixel of the streaming network, counted from the tensors alive at its peak.

    That is the alignment in Net^R: the kept features of a window, those of the degradation kernels, what one frame's
    alignment makes, and the float32 tensors that exist in any precision: the features that are warped, flow-mask pairs,
    the restored picture and its copies.
    """
    size = DTYPES[precision].itemsize
    kept = config.num_frames * (2 * config.num_frma_blocks + 2) * config.dim
    working = (config.num_frames + 4) * config.dim + 2 * config.flow_channels
    wide = config.dim + (config.num_frames + 2) * config.flow_channels + 3 * IMAGE_CHANNELS * config.scale**2
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
