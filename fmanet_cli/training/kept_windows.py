"""Validation windows kept in a run's folder: making them takes a core longer than all else before the first step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fmanet_cli.files import replacing
from fmanet_cli.training.validation import ValidationWindows

KEPT_NAME = "validation.safetensors"

_MADE_OF = "made_of"


def kept_windows(
    folder: Path, made_of: str, make: Callable[[], Sequence[ValidationWindows]]
) -> Sequence[ValidationWindows]:
    """Validation windows out of a run's folder, made and kept there where it has none of the same making.

    Args:
        folder: of the run; it exists.
        made_of: digest of all that the windows depend on.
        make: makes them.

    Raises:
        FileWriteError: they cannot be written.
    """
    file = folder / KEPT_NAME
    found = _read(file, made_of)
    if found is not None:
        return found
    windows = make()
    tensors = {}
    for number, batch in enumerate(windows):
        tensors[f"{number}.blurry"], tensors[f"{number}.truth"] = batch.to_bytes()
    with replacing(file) as temporary:
        save_file(tensors, str(temporary), metadata={_MADE_OF: made_of})
    return windows


def _read(file: Path, made_of: str) -> list[ValidationWindows] | None:
    """None where there is no such file, or one of another making."""
    with contextlib.suppress(OSError, SafetensorError), safe_open(file, framework="pt") as kept:
        if (kept.metadata() or {}).get(_MADE_OF) == made_of:
            names = sorted(kept.keys(), key=lambda name: int(name.partition(".")[0]))
            tensors = {name: kept.get_tensor(name) for name in names}
            count = len(names) // 2
            return [
                ValidationWindows.from_bytes(tensors[f"{number}.blurry"], tensors[f"{number}.truth"])
                for number in range(count)
            ]
    return None
