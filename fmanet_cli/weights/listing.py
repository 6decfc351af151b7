"""All weights that can be named on this machine, told without loading any."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open

from fmanet_cli.weights.cache import installed_names, installed_path
from fmanet_cli.weights.registry import PRETRAINED, best_installed

_OF_THE_TABLE = ("name", "purpose", "sha256", "parameters", "colour_order", "licence", "source", "url", "figures")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedWeights:
    """What `fmanet weights list` tells about one name."""

    name: str
    """What `load_model` takes."""
    state: Literal["embedded", "installed", "not installed"]
    """Inside the package, in the cache, or to be downloaded first."""
    default: bool
    """Whether these weights are used when none are asked for."""
    purpose: str
    """What the weights are for."""
    path: str | None
    """Where the file lies; None when not installed."""
    size_bytes: int | None
    """Size of the file; None when not installed and not published."""
    sha256: str | None = None
    """Published digest; None where there is none."""
    parameters: int | None = None
    """Number of parameters; None for imported weights."""
    colour_order: str
    """rgb or bgr, or a question mark for a file that cannot be read."""
    licence: str
    """Licence of the weights."""
    source: str
    """Where they come from."""
    url: str | None = None
    """Where they are downloaded from."""
    figures: tuple[str, ...] = ()
    """Measured quality, each with who measured it."""


def list_weights() -> list[ListedWeights]:
    """Every row of the table, then imported weights by name."""
    installed = {name: installed_path(name) for name in installed_names()}
    default = best_installed()
    rows = [_listed_row(name, installed.get(name), default=name == default) for name in PRETRAINED]
    return rows + [_listed_import(name, path) for name, path in installed.items() if name not in PRETRAINED]


def _listed_row(name: str, path: Path | None, *, default: bool) -> ListedWeights:
    row = PRETRAINED[name]
    return ListedWeights(
        state="not installed" if path is None else "embedded" if row.embedded else "installed",
        default=default,
        path=str(path) if path else None,
        size_bytes=path.stat().st_size if path else row.size_bytes,
        **{field: getattr(row, field) for field in _OF_THE_TABLE},
    )


def _listed_import(name: str, path: Path) -> ListedWeights:
    try:
        with safe_open(path, framework="numpy") as file:
            fields = file.metadata() or {}
    except (SafetensorError, OSError):
        fields = {}
    return ListedWeights(
        name=name,
        state="installed",
        default=False,
        purpose="imported",
        path=str(path),
        size_bytes=path.stat().st_size,
        colour_order=fields.get("colour_order", "?"),
        licence=fields.get("licence", "?"),
        source="imported",
    )
