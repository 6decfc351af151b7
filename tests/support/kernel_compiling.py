"""Compiles the fused kernels for a GPU that need not be there, as a program.

The interpreter takes what the compiler refuses: it knows neither the types of a loop's variables nor arguments that are
constants because they are 1. Prints one JSON object: how many programs each case compiled.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from fmanet_cli.engine.fast import triton_attention, triton_filters, triton_fusion, triton_glue
from fmanet_cli.engine.fast import triton_kernels as kernels
from support import kernel_cases

TARGET = GPUTarget("cuda", int(sys.argv[1]), 32)


class AbsentGPU:
    """As much of a driver as compiling asks for."""

    def get_current_target(self) -> GPUTarget:
        return TARGET

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return device


class Compiling:
    """Stands in for a Triton program: a launch compiles for its arguments and runs nothing."""

    made: set[str]

    def __init__(self, program: Any) -> None:
        self._program = program

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*arguments: Any, **constants: Any) -> None:
            compiled = self._program.warmup(*arguments, grid=grid, **constants)
            assert compiled.asm["cubin"]
            self.made.add(compiled.hash)

        return launch


def compiled_programs() -> dict[str, int]:
    driver.set_active(AbsentGPU())
    kernels._warp_program = Compiling(kernels._warp_program)
    kernels._upsample_program = Compiling(kernels._upsample_program)
    for module in (triton_glue, triton_filters, triton_fusion, triton_attention):
        for name in [name for name in vars(module) if name.endswith("_program")]:
            setattr(module, name, Compiling(getattr(module, name)))
    counts = {}
    for name, case in kernel_cases.cases():
        if not name.startswith("network"):
            Compiling.made = set()
            case(torch.device("cpu"))
            counts[name] = len(Compiling.made)
    return counts


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(compiled_programs()))  # noqa: T201
