"""What a training run keeps on disk, so that it can go on."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from fmanet_cli.errors import TrainingError
from fmanet_cli.files import replacing

STATE_NAME = "state.pt"
WEIGHTS_NAME = "weights.safetensors"
FORMAT_VERSION = 2


@dataclass(frozen=True, slots=True)
class RunPosition:
    """Where a run stands."""

    recipe: str
    """Name of the recipe."""
    seed: int
    """Seed of the run."""
    stage: int
    """Number of the stage, 1 or 2."""
    step: int
    """Optimiser steps done in this stage."""
    batch: int
    """Number of the next batch; it runs on through both stages."""
    seconds: float
    """Time spent in this stage."""


@dataclass(frozen=True, slots=True, eq=False)
class RunState:
    """A position with the tensors that belong to it."""

    position: RunPosition
    model: dict[str, Any]
    averaged: dict[str, Any]
    optimizers: list[dict[str, Any]]


def save_state(folder: Path, state: RunState) -> None:
    """Write the state whole, in place of an older one. Raises ``FileWriteError`` where it cannot be written."""
    # torch.save tells a full disk apart from its own faults only when Python writes the file.
    with replacing(folder / STATE_NAME) as temporary, temporary.open("wb") as file:
        torch.save(
            {
                "format_version": FORMAT_VERSION,
                "position": asdict(state.position),
                "model": state.model,
                "averaged": state.averaged,
                "optimizers": state.optimizers,
            },
            file,
        )


def load_state(folder: Path) -> RunState:
    """Read the state of the run in ``folder``. Raises ``TrainingError`` where there is none or it is damaged."""
    path = folder / STATE_NAME
    if not os.path.isfile(path):
        raise TrainingError(f"no run to resume in {folder}: {STATE_NAME} is missing; start without --resume")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["format_version"] != FORMAT_VERSION:
            raise TrainingError(f"{path} was written by another version of fmanet; start a new run")
        return RunState(RunPosition(**saved["position"]), saved["model"], saved["averaged"], saved["optimizers"])
    except TrainingError:
        raise
    except Exception as error:
        raise TrainingError(f"cannot read {path}: {error}; start a new run") from error
