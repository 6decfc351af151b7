"""What the libraries below read from the environment when they are loaded; nothing that is set already is changed."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys

_LIBRARY_VARIABLES = {
    # Torch reads this at its first allocation. With large pages a window costs a tenth less on a CPU, because the
    # network takes and returns tensors of megabytes all the time.
    "THP_MEM_ALLOC_ENABLE": "1",
    # Threads that wait sleep instead of turning in circles, where they take the processors from those that compute as
    # soon as other programs run too. A quiet machine loses nothing (AMD EPYC, 2 cores, torch 2.13.0, 2026-11-26, lite,
    # 7 frames of 320x180 in fp32: 8.5 s instead of 9.3 s of wall time, 12.4 s instead of 13.0 s of processor time).
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
}

_GROWING_BLOCKS = "expandable_segments:True"
"""Lets CUDA's memory be cut anew for another size of frame; for Linux, and not for ROCm."""


_NICEST = 19


def tune_libraries() -> None:
    """Call it before torch is imported."""
    for name, value in _LIBRARY_VARIABLES.items():
        os.environ.setdefault(name, value)
    names = "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"
    if sys.platform == "linux" and not any(name in os.environ for name in names):
        # Torch has taken the first name since 2.9, and warns of the second.
        torch = importlib.metadata.version("torch")
        if "rocm" not in torch:
            number = tuple(int(part) for part in torch.split(".")[:2])
            os.environ[names[0] if number >= (2, 9) else names[1]] = _GROWING_BLOCKS


def take_low_priority() -> None:
    """From now on this process and those that it starts compute only where nobody else wants to.

    Processes are scheduled as idle where the system knows that (Linux, Windows), and are as nice as can be elsewhere.
    """
    if sys.platform == "win32":
        import psutil

        psutil.Process().nice(psutil.IDLE_PRIORITY_CLASS)
        return
    os.nice(_NICEST)
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
