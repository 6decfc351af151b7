"""Checkpoints: safetensors files that hold everything needed to rebuild their network."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fmanet_cli.errors import FileWriteError, OptionError, WeightsError
from fmanet_cli.files import replacing
from fmanet_cli.model.config import BASE, LITE, PAPER, FMANetConfig
from fmanet_cli.model.fmanet import ColourOrder, FMANet, random_model
from fmanet_cli.weights.cache import RANDOM_NAMES, SourceFile, home_path, installed_path

FORMAT_VERSION = 1
"""Version of the metadata; a file of a later version is refused."""

_FLOATS = {"F16", "BF16", "F32", "F64"}
_COLOUR_ORDERS: dict[str, ColourOrder] = {"rgb": "rgb", "bgr": "bgr"}
_FOREIGN_SUFFIXES = {".pt", ".pth", ".zip"}
_NAMES_SHOWN = 3
_RANDOM_CONFIGS = dict(zip(RANDOM_NAMES, (PAPER, LITE, BASE), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointMetadata:
    """What a checkpoint says about itself besides its network."""

    licence: str
    """Licence of the weights."""
    source: str
    """Where they come from: a paper, a repository, a training run."""
    source_files: tuple[SourceFile, ...] = ()
    """Files they were converted from, with their digests, outermost archive first."""
    created: str = ""
    """ISO 8601 date; empty stands for the day of saving."""
    training: str = ""
    """How they were trained, in a line; empty where that is not known."""
    licence_accepted: str | None = None
    """When and how the user agreed to the licence notice; None where there was none."""


@dataclass(frozen=True, slots=True)
class CheckpointHeader:
    """Everything of a checkpoint but its tensors."""

    config: FMANetConfig
    """Sizes of the network."""
    colour_order: ColourOrder
    """Channel order the weights were trained with."""
    metadata: CheckpointMetadata
    """Licence and provenance."""


def load_model(name_or_path: str | Path) -> FMANet:
    """Load a network with installed, stored or random weights; nothing is ever downloaded here.

    Args:
        name_or_path: a name of the registry or of imported weights, the path of a `.safetensors` file (a text counts
            as a path when it has a suffix or a folder separator), or `random:paper`, `random:lite` or `random:base`
            for seeded untrained weights that serve for measuring only.

    Returns:
        The network in evaluation mode, float32, on the CPU.

    Raises:
        WeightsError: the name is unknown, the weights are not installed, or the file is no complete checkpoint.
    """
    if not isinstance(name_or_path, Path):
        if name_or_path in _RANDOM_CONFIGS:
            return random_model(_RANDOM_CONFIGS[name_or_path])
        if not _is_path(name_or_path):
            return load_checkpoint(installed_path(name_or_path))
    return load_checkpoint(home_path(name_or_path))


def load_checkpoint(path: Path) -> FMANet:
    """Rebuild the network of a checkpoint: evaluation mode, float32, on the CPU.

    Raises `WeightsError` where the file is not a checkpoint, or its tensors are not exactly those of its configuration.
    """
    header = read_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    return build_model(header.config, tensors, colour_order=header.colour_order, origin=str(path))


def read_header(path: Path) -> CheckpointHeader:
    """Read what a checkpoint says about itself and hold its tensors' names and shapes against its configuration.

    No tensor is loaded. Raises `WeightsError` as `load_checkpoint` does.
    """
    if path.suffix in _FOREIGN_SUFFIXES and os.path.exists(path):
        raise WeightsError(f"{path} is not a .safetensors file: convert it with 'fmanet weights import' first")
    if os.path.exists(path) and not os.path.isfile(path):
        raise WeightsError(f"{path} is not a file of weights: it is no regular file")
    try:
        with safe_open(path, framework="pt") as file:
            fields = file.metadata() or {}
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            dtypes = {name: part.get_dtype() for name, part in slices.items()}
    except FileNotFoundError as error:
        if os.path.exists(path):  # safetensors says so of every failure to open.
            raise WeightsError(f"{path} cannot be opened now") from error
        raise WeightsError(f"there is no weights file {path}") from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file: {error}") from error
    header = _parse_header(fields, path)
    check_shapes(shapes, header.config, origin=str(path))
    for name, dtype in dtypes.items():
        if dtype not in _FLOATS:
            raise WeightsError(f"{path}: tensor {name} holds {dtype}, not floating-point numbers")
    return header


def save_checkpoint(path: Path, model: FMANet, *, metadata: CheckpointMetadata) -> None:
    """Write the network, wherever and in whatever precision it is, as a float32 checkpoint.

    The file appears whole or not at all and replaces an older one. Raises `FileWriteError` where it cannot be written.
    """
    tensors = {
        name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in model.state_dict().items()
    }
    provenance = asdict(metadata)
    licence = provenance.pop("licence")
    provenance["created"] = metadata.created or date.today().isoformat()
    fields = {
        "format": "fmanet",
        "format_version": str(FORMAT_VERSION),
        "config": json.dumps(asdict(model.config)),
        "colour_order": model.colour_order,
        "licence": licence,
        "provenance": json.dumps(provenance),
    }
    with replacing(Path(path), make_folders=True) as temporary:
        try:
            save_file(tensors, temporary, metadata=fields)
        except SafetensorError as error:
            raise FileWriteError(f"{path} cannot be written: {error}") from error


def build_model(
    config: FMANetConfig, tensors: Mapping[str, Tensor], *, colour_order: ColourOrder, origin: str
) -> FMANet:
    """The network of `config` around `tensors`, which become float32; `origin` names their file in errors.

    Raises `WeightsError` where the tensors are not exactly those of the configuration, or a value is not finite.
    """
    check_shapes({name: tuple(tensor.shape) for name, tensor in tensors.items()}, config, origin=origin)
    values = {name: tensor.to(torch.float32).contiguous() for name, tensor in tensors.items()}
    for name, tensor in values.items():
        if not bool(tensor.isfinite().all()):
            raise WeightsError(f"{origin}: tensor {name} holds values that are not finite")
    with torch.device("meta"):
        model = FMANet(config, colour_order=colour_order)
    model.load_state_dict(values, strict=True, assign=True)
    return model.eval()


def check_shapes(shapes: Mapping[str, tuple[int, ...]], config: FMANetConfig, *, origin: str) -> None:
    """Raise `WeightsError` naming the tensors that `config` misses, does not know, or expects in another shape."""
    counts = (config.num_rdbs, config.num_dense_layers, config.num_frma_blocks, config.num_attention_blocks)
    if max(counts) > len(shapes):
        raise WeightsError(f"{origin}: {len(shapes)} tensors cannot make a network of {max(counts)} blocks")
    try:
        with torch.device("meta"):
            expected = {name: tuple(tensor.shape) for name, tensor in FMANet(config).state_dict().items()}
    except (RuntimeError, TypeError, ValueError, ArithmeticError) as error:
        raise WeightsError(
            f"{origin} describes an impossible network: its sizes are beyond what can be counted"
        ) from error
    if missing := [name for name in expected if name not in shapes]:
        raise WeightsError(f"{origin}: {_listed(missing)} missing")
    if unexpected := [name for name in shapes if name not in expected]:
        raise WeightsError(f"{origin}: {_listed(unexpected)} unexpected")
    for name, shape in shapes.items():
        if shape != expected[name]:
            raise WeightsError(
                f"{origin}: tensor {name} has the shape {_by(shape)}, but the network needs {_by(expected[name])}"
            )


def _is_path(text: str) -> bool:
    return bool(Path(text).suffix) or "/" in text or "\\" in text


def _parse_header(fields: Mapping[str, str], path: Path) -> CheckpointHeader:
    if fields.get("format") != "fmanet":
        raise WeightsError(f"{path} is a safetensors file of another program: it has no fmanet metadata")
    version = fields.get("format_version", "")
    if version != str(FORMAT_VERSION):
        raise WeightsError(
            f"{path} has format version {version!r:.60}, this fmanet reads {FORMAT_VERSION}: update fmanet"
        )
    colour_order = _COLOUR_ORDERS.get(fields.get("colour_order", ""))
    if colour_order is None:
        raise WeightsError(f"{path}: the colour order must be rgb or bgr, got {fields.get('colour_order')!r:.60}")
    try:
        config = FMANetConfig(**json.loads(fields["config"]))
        provenance: dict[str, Any] = json.loads(fields["provenance"])
        files = tuple(SourceFile(**entry) for entry in provenance.pop("source_files"))
        if not all(isinstance(text, str) or text is None for text in provenance.values()):
            raise TypeError("its provenance holds something that is no text")
        metadata = CheckpointMetadata(licence=fields["licence"], source_files=files, **provenance)
    except OptionError as error:
        raise WeightsError(f"{path} describes an impossible network: {error!s:.200}") from error
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise WeightsError(f"{path} has damaged metadata: {error!r:.200}") from error
    return CheckpointHeader(config, colour_order, metadata)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''} ({shown}{more})"


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"
