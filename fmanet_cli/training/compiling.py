"""Compiled training steps: trusted only after their gradients were those of the plain step."""

from __future__ import annotations

import atexit
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fmanet_cli.errors import TrainingError

if TYPE_CHECKING:
    from fmanet_cli.training.losses import DegradationLoss, RestorationLoss
    from fmanet_cli.training.windows import WindowBatch

    Loss = DegradationLoss | RestorationLoss

LARGEST_DIFFERENCE = 0.05
"""Largest difference of a parameter's compiled and plain gradients, over the length of the plain one."""

_FIRST_SOUND_GCC = 13
_SAFE_FLAGS = "off -fno-tree-slp-vectorize -fno-tree-loop-distribute-patterns"
_FLAGS_VARIABLE = "TORCHINDUCTOR_CPP_ENABLE_FLOATING_POINT_CONTRACT_FLAG"


def avoid_wrong_code() -> None:
    """Make torch.compile leave out two optimisations of g++ below 13.

    Version 12.2 translates the copies of 16-bit tiles between memory layouts wrongly: most of what they write is not
    initialised. Inductor has no setting for flags of its own, but newer ones paste this one into the command line; to
    older ones, where it is a switch, the flags come with the compiler. A value that the environment already has is
    kept.
    """
    compiler = os.environ.get("CXX", "g++")
    major = _gcc_major(compiler)
    if major is None or major >= _FIRST_SOUND_GCC or _FLAGS_VARIABLE in os.environ:
        return
    os.environ[_FLAGS_VARIABLE] = _SAFE_FLAGS
    from torch._inductor import config

    if isinstance(config.cpp.enable_floating_point_contract_flag, str):
        config.cpp.enable_floating_point_contract_flag = _SAFE_FLAGS
    else:
        config.cpp.cxx = (str(_with_flags(compiler)),)


def _with_flags(compiler: str) -> Path:
    """A program that calls the compiler with the safe flags, until this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="fmanet-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # Inductor tells the kind of a compiler from its name.
    program = folder / "g++"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(compiler)} "$@" -ffp-contract={_SAFE_FLAGS}\n', encoding="utf-8")
    program.chmod(0o755)
    return program


def _gcc_major(compiler: str) -> int | None:
    """The version of g++, None for another compiler or none."""
    try:
        text = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\b(\d+)\.\d+\.\d+\b", text)
    return int(found[1]) if found and "clang" not in text.lower() else None


class CheckedStep:
    """Computes gradients with a compiled loss, or with the plain one where the compiled one gives others."""

    def __init__(
        self,
        plain: Callable[[WindowBatch, bool], Loss],
        parameters: Mapping[str, nn.Parameter],
        compiled: Callable[[WindowBatch, bool], Loss] | None = None,
    ) -> None:
        """`compiled`: instead of `torch.compile` of `plain`; both take a batch and whether to rebuild."""
        self._plain = plain
        self._parameters = parameters
        self._compiled = compiled or torch.compile(plain, dynamic=False)
        self._checked: set[bool] = set()
        self._trusted = True
        self._notes: list[str] = []

    def take_notes(self) -> tuple[str, ...]:
        """What should be told about the check, one line each, once."""
        notes, self._notes = tuple(self._notes), []
        return notes

    def __call__(self, batch: WindowBatch, rebuild: bool) -> Loss:
        """The loss of a batch; its gradients are left in the parameters, which must have none before."""
        if not self._trusted:
            return with_gradients(self._plain, batch, rebuild)
        if rebuild in self._checked:
            return with_gradients(self._compiled, batch, rebuild)
        plain_loss = with_gradients(self._plain, batch, rebuild)
        plain = self._take_gradients()
        loss = self._first_compiled(batch, rebuild)
        wrong = _differences(plain, {name: parameter.grad for name, parameter in self._parameters.items()})
        if not wrong:
            self._checked.add(rebuild)
            return loss
        self._trusted = False
        name, difference = max(wrong.items(), key=lambda item: item[1])
        self._notes.append(
            f"the compiled step has other gradients than the plain one ({len(wrong)} parameters, worst {name}: "
            f"{difference:.0%} off); training goes on without compiling"
        )
        for name, parameter in self._parameters.items():
            parameter.grad = plain[name]
        return plain_loss

    def _first_compiled(self, batch: WindowBatch, rebuild: bool) -> Loss:
        try:
            return with_gradients(self._compiled, batch, rebuild)
        except (RuntimeError, OSError) as error:
            # Dynamo's and inductor's errors are children of RuntimeError, with a report of many lines.
            first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise TrainingError(f"the step cannot be compiled: {first_line}; train without compiling") from error

    def _take_gradients(self) -> dict[str, Tensor | None]:
        taken = {name: parameter.grad for name, parameter in self._parameters.items()}
        for parameter in self._parameters.values():
            parameter.grad = None
        return taken


def with_gradients(compute: Callable[[WindowBatch, bool], Loss], batch: WindowBatch, rebuild: bool) -> Loss:
    """The loss of a batch; its gradients are left in the parameters."""
    loss = compute(batch, rebuild)
    loss.total.backward()
    return loss


def _differences(plain: Mapping[str, Tensor | None], other: Mapping[str, Tensor | None]) -> dict[str, float]:
    """By name, the relative differences above `LARGEST_DIFFERENCE`; infinite where only one has a gradient."""
    wrong = {}
    # A gradient that vanishes beside all others is rounding.
    known = [gradient for gradient in plain.values() if gradient is not None]
    shortest = 1e-6 * torch.stack([gradient.norm() for gradient in known]).norm() if known else 0.0
    for name, expected in plain.items():
        found = other[name]
        if expected is None or found is None:
            difference = 0.0 if expected is found else float("inf")
        else:
            difference = float((found - expected).norm() / (expected.norm() + shortest))
        if not difference <= LARGEST_DIFFERENCE:
            wrong[name] = difference
    return wrong
