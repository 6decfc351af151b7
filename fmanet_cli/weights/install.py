"""Weights brought in from a download or from files at hand: found, converted, checked, and only then put in place."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fmanet_cli.errors import ChecksumError, OptionError, OutputExistsError, WeightsError
from fmanet_cli.files import replacing
from fmanet_cli.model.fmanet import ColourOrder, FMANet
from fmanet_cli.weights.cache import (
    InstallRecord,
    SourceFile,
    cached_path,
    check_name,
    file_sha256,
    read_record,
    record_path,
    utc_now,
    write_record,
)
from fmanet_cli.weights.checkpoint import CheckpointMetadata, load_checkpoint, read_header, save_checkpoint
from fmanet_cli.weights.download import FIRST_WAIT_SECONDS, ProgressBar, fetch
from fmanet_cli.weights.registry import PRETRAINED, WeightsRow
from fmanet_cli.weights.upstream.archive import find_upstream_pair
from fmanet_cli.weights.upstream.convert import read_upstream_model

UPSTREAM_COLOUR_ORDER: ColourOrder = "bgr"
"""Order of the authors' training data, taken for their file layout unless another one is given."""
NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True)
class NewWeights:
    """Weights that were just put in place."""

    path: Path
    """The new checkpoint."""
    model: FMANet
    """The network with these weights: evaluation mode, float32, on the CPU."""
    source_files: tuple[SourceFile, ...]
    """What it was made from, outermost archive first, each with its digest."""
    first_time: bool
    """Whether a row's weights were installed without an earlier record to compare the digests with."""


def download_weights(
    row: WeightsRow,
    *,
    licence_accepted: str | None,
    sha256: str | None = None,
    progress: ProgressBar | None = None,
    offline: bool = False,
    first_wait_seconds: float = FIRST_WAIT_SECONDS,
) -> NewWeights:
    """Download, check and install the weights of `row`, in place of installed ones of that name.

    `licence_accepted` says when and how the user agreed to `row.licence_notice`. `sha256` pins the download, or
    an archive inside it: zips of shared folders are packed anew for every request, so their own digest may change.
    Without a pin the authors' two files must be those of the first download, if there was one. A checkpoint of ours is
    installed byte by byte, the authors' files are converted.

    Raises `WeightsError`, `DownloadError` or `ChecksumError`; the cache is then as it was.
    """
    if row.url is None:
        raise WeightsError(f"weights {row.name!r} are part of the package: there is nothing to download")
    _require_acceptance(row, licence_accepted)
    pin = _checked_pin(sha256) or row.sha256
    with tempfile.TemporaryDirectory(prefix="fmanet-") as folder:
        download = Path(folder, row.file if row.form == "checkpoint" else f"{row.name}.zip")
        fetch(row.url, download, progress=progress, offline=offline, first_wait_seconds=first_wait_seconds)
        if row.form == "checkpoint":
            return _install_checkpoint(row, download, pin=pin, licence_accepted=licence_accepted)
        pair = find_upstream_pair([download], scratch=Path(folder))
        record = read_record(row.name)
        _compare_digests(row.name, pair.source_files, pin=pin, record=record)
        model = read_upstream_model(pair, colour_order=row.colour_order)
        metadata = CheckpointMetadata(
            licence=row.licence,
            source=f"{row.source}; {row.url}",
            source_files=pair.source_files,
            licence_accepted=licence_accepted,
        )
        return _install(row.name, model, metadata, first_time=record is None)


def import_weights(
    paths: Sequence[Path],
    *,
    name: str | None = None,
    target: Path | None = None,
    colour_order: ColourOrder | None = None,
    licence: str | None = None,
    source: str | None = None,
    licence_accepted: str | None = None,
    overwrite: bool = False,
) -> NewWeights:
    """Convert weights at hand: a zip, a folder or the two files of the authors' layout, or one checkpoint of ours.

    The result is installed under `name`, or written to `target`; one of the two is needed. What is not given is
    taken from the table's row of that name, from the checkpoint's own metadata, or, for the colour order of the
    authors' layout, is BGR. For a row with a licence notice `licence_accepted` is needed as in `download_weights`.

    Raises `WeightsError` for weights that cannot be used, `OutputExistsError` where something has that name or path
    already and `overwrite` is false. Nothing is then written.
    """
    destination = _checked_destination(name, target, overwrite=overwrite)
    row = PRETRAINED.get(name or "")
    if row:
        _require_acceptance(row, licence_accepted)
        licence, source = licence or row.licence, source or row.source
        colour_order = colour_order or row.colour_order
    model, metadata = _read_any(paths, colour_order=colour_order)
    metadata = replace(
        metadata,
        licence=licence or metadata.licence,
        source=source or metadata.source,
        licence_accepted=licence_accepted or metadata.licence_accepted,
    )
    if name is None:
        save_checkpoint(destination, model, metadata=metadata)
        return NewWeights(destination, model, metadata.source_files, first_time=False)
    record = read_record(name) if row else None
    _compare_digests(name, metadata.source_files, pin=None, record=record)
    return _install(name, model, metadata, first_time=row is not None and record is None)


def default_name(paths: Sequence[Path]) -> str:
    """The name that imported weights get when none is given: that of their archive or folder."""
    first = paths[0].resolve()
    stem = first.parent.name if len(paths) > 1 else first.name if os.path.isdir(first) else first.stem
    return re.sub(r"[^a-z0-9_-]+", "-", stem.lower()).strip("-_") or "imported"


def _checked_destination(name: str | None, target: Path | None, *, overwrite: bool) -> Path:
    if name is not None and target is None:
        destination = cached_path(check_name(name))
    elif target is not None and name is None:
        destination = target
    else:
        raise OptionError("imported weights need either a name or a target file, and not both")
    if destination.suffix != ".safetensors":
        raise OptionError(f"the target of an import must end in .safetensors, got {destination}")
    if os.path.exists(destination) and not overwrite:
        raise OutputExistsError(f"{destination} exists: choose another name, or overwrite it", remedy="overwrite")
    return destination


def _require_acceptance(row: WeightsRow, licence_accepted: str | None) -> None:
    if row.licence_notice and not licence_accepted:
        raise WeightsError(f"weights {row.name!r} need your agreement first: {row.licence_notice}")


def _checked_pin(sha256: str | None) -> str | None:
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise OptionError(f"a SHA-256 digest has 64 hexadecimal digits, got {sha256!r}")
    return sha256.lower() if sha256 else None


def _compare_digests(name: str, found: Sequence[SourceFile], *, pin: str | None, record: InstallRecord | None) -> None:
    """Hold the source files against the pin or, without one, the authors' two files against an earlier record."""
    if pin is not None:
        if pin not in {file.sha256 for file in found[:-2]}:
            raise ChecksumError(f"no downloaded archive has the SHA-256 digest {pin} (found: {_digests(found[:-2])})")
    elif record and {file.sha256 for file in record.source_files[-2:]} != {file.sha256 for file in found[-2:]}:
        raise ChecksumError(
            f"the files of {name!r} are not those first installed on {record.installed[:10]}: SHA-256 was "
            f"{_digests(record.source_files[-2:])}, is {_digests(found[-2:])}; if you trust them, delete "
            f"{record_path(name)}"
        )


def _digests(files: Sequence[SourceFile]) -> str:
    return ", ".join(f"{file.name} {file.sha256}" for file in files)


def _read_any(paths: Sequence[Path], *, colour_order: ColourOrder | None) -> tuple[FMANet, CheckpointMetadata]:
    """The network and what is known about it, from a checkpoint of ours or from the authors' layout."""
    if len(paths) == 1 and paths[0].suffix == ".safetensors":
        header = read_header(paths[0])
        if colour_order not in {None, header.colour_order}:
            raise WeightsError(f"{paths[0]} says that its colour order is {header.colour_order}, not {colour_order}")
        return load_checkpoint(paths[0]), header.metadata
    with tempfile.TemporaryDirectory(prefix="fmanet-") as folder:
        pair = find_upstream_pair(paths, scratch=Path(folder))
        model = read_upstream_model(pair, colour_order=colour_order or UPSTREAM_COLOUR_ORDER)
    return model, CheckpointMetadata(licence=NOT_STATED, source=NOT_STATED, source_files=pair.source_files)


def _install_checkpoint(
    row: WeightsRow, download: Path, *, pin: str | None, licence_accepted: str | None
) -> NewWeights:
    found = file_sha256(download)
    if found != pin:
        raise ChecksumError(f"{row.url} has the SHA-256 digest {found}, the weights {row.name!r} have {pin}")
    model, metadata = load_checkpoint(download), read_header(download).metadata
    metadata = replace(metadata, source=f"{row.source}; {row.url}", licence_accepted=licence_accepted)
    return _install(row.name, model, metadata, first_time=read_record(row.name) is None, content=download)


def _install(
    name: str, model: FMANet, metadata: CheckpointMetadata, *, first_time: bool, content: Path | None = None
) -> NewWeights:
    with replacing(cached_path(name), make_folders=True) as temporary:
        if content is None:
            save_checkpoint(temporary, model, metadata=metadata)
        else:
            shutil.copyfile(content, temporary)
        record = InstallRecord(
            sha256=file_sha256(temporary),
            installed=utc_now(),
            source=metadata.source,
            source_files=metadata.source_files,
            licence_accepted=metadata.licence_accepted,
        )
        write_record(name, record)
    return NewWeights(cached_path(name), model, metadata.source_files, first_time)
