"""The machine that figures were measured on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

_PROCESSORS = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Enough to tell two machines apart; None where the system does not say."""

    system: str
    """Operating system and its version."""
    python: str
    """Version."""
    processor: str
    """The CPU's name."""
    cores: int | None
    """Logical CPUs."""
    threads: int
    """CPU threads that torch uses."""
    memory_bytes: int
    """Main memory."""
    accelerator: str | None
    """Name of the GPU in use."""
    accelerator_memory_bytes: int | None
    """Its memory."""


def describe_machine(device: torch.device) -> Machine:
    """This machine, with the GPU if `device` is one."""
    gpu = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    return Machine(
        system=platform.platform(),
        python=platform.python_version(),
        processor=_processor_name(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        memory_bytes=psutil.virtual_memory().total,
        accelerator=gpu.name if gpu else ("Metal" if device.type == "mps" else None),
        accelerator_memory_bytes=gpu.total_memory if gpu else None,
    )


def _processor_name() -> str:
    if _PROCESSORS.exists():
        for line in _PROCESSORS.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
