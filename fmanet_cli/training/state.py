"""What a training run keeps on disk, so that it can go on."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from fmanet_cli.errors import TrainingError
from fmanet_cli.files import replacing

STATE_NAME = "state.pt"
WEIGHTS_NAME = "weights.safetensors"
RAW_NAME = "raw.safetensors"
FORMAT_VERSION = 3

_PARTS = "state-*.pt"


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
    """The weights as the optimisers left them."""
    averaged: Sequence[dict[str, Any]]
    """Their running averages."""
    update: dict[str, Any]
    """Of optimisers and clipping."""


def save_state(folder: Path, state: RunState) -> None:
    """Write the state in several files, none much larger than the weights, so that each can be carried alone.

    The files of the weights have new names, and `state.pt`, written last, names them: whenever a run dies, what
    `state.pt` names is whole and of one step. Raises `FileWriteError` where one cannot be written.
    """
    parts = {"raw": state.model, **{f"averaged{number}": weights for number, weights in enumerate(state.averaged)}}
    names = {part: f"state-{part}-{state.position.batch}.pt" for part in parts}
    for part, weights in parts.items():
        _write(folder / names[part], weights)
    index = {
        "format_version": FORMAT_VERSION,
        "position": asdict(state.position),
        "files": names,
        "update": state.update,
    }
    _write(folder / STATE_NAME, index)
    for path in set(folder.glob(_PARTS)) - {folder / name for name in names.values()}:
        path.unlink()


def load_state(folder: Path) -> RunState:
    """Read the state of the run in `folder`. Raises `TrainingError` where there is none or it is damaged."""
    path = folder / STATE_NAME
    if not os.path.isfile(path):
        raise TrainingError(f"no run to resume in {folder}: {STATE_NAME} is missing; start a new one", remedy="resume")
    index = _read(path)
    if index.get("format_version") != FORMAT_VERSION:
        raise TrainingError(f"{path} was written by another version of fmanet; start a new run from its weights")
    try:
        position, names, update = RunPosition(**index["position"]), dict(index["files"]), index["update"]
        raw = names.pop("raw")
    except (KeyError, TypeError) as error:
        raise TrainingError(f"cannot read {path}: it is damaged; start a new run") from error
    return RunState(position, _read(folder / raw), [_read(folder / name) for name in names.values()], update)


def _write(path: Path, value: Any) -> None:
    # In memory first: torch.save does not always tell a full disk apart from its own faults.
    buffer = io.BytesIO()
    torch.save(value, buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def _read(path: Path) -> dict[str, Any]:
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
        return dict(value)
    except Exception as error:
        raise TrainingError(f"cannot read {path}: {error}; start a new run") from error
