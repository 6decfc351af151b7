"""The report of a run: what went in and out, with what, so that the run can be proved and repeated."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from fmanet_cli._version import __version__
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.tiling import Tiling
from fmanet_cli.errors import OptionError, VideoReadError, WeightsError
from fmanet_cli.files import read_text, sha256_of
from fmanet_cli.machine import Machine, describe_machine
from fmanet_cli.restore.batch import BatchResult
from fmanet_cli.restore.inputs import BatchItem
from fmanet_cli.restore.settings import RestoreSettings, stored_settings
from fmanet_cli.video.inspection import library_versions
from fmanet_cli.video.read.sequence import is_sequence_pattern, list_sequence
from fmanet_cli.weights.cache import file_sha256, installed_names, weights_path

FORMAT = 1
"""Version of the file; another one is refused."""

_PACKAGES = ("torch", "numpy", "safetensors")
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsRecord:
    """The weights of a run."""

    name: str
    """As they were asked for; the absolute path of weights that have no name."""
    path: str | None
    """Where they lie; None for random ones."""
    sha256: str | None
    """Digest of the file; None for random ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """How the network ran."""

    device: str
    """Where."""
    precision: str
    """`fp32`, `fp16` or `bf16`."""
    tiling: Tiling
    """As it was asked for; each file says how its frames were cut."""
    self_check: tuple[str, ...]
    """Every way of computing that was tried on the device before the run, the last one taken; empty on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One video of a run."""

    source: str
    """Absolute path; `-` for standard input."""
    source_sha256: str | None
    """Digest, of all files in turn for an image sequence; None for pipes."""
    target: str
    """Absolute path; `-` for standard output."""
    target_sha256: str | None
    """Digest; None for pipes and where there is no output."""
    state: str
    """`done`, `skipped` or `failed`."""
    error: str | None
    """Why it failed or was skipped."""
    run: dict[str, Any] | None
    """Frames, sizes, timings, warnings and the rows of the verification of a finished run."""
    verification: dict[str, Any] | None
    """The comparison that a failed run ended with."""
    settings: dict[str, Any] | None = None
    """Fields of `RestoreSettings` where this file had its own; None = as the options say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """Everything of one call of `fmanet restore`."""

    format: int
    """`FORMAT`."""
    created: str
    """ISO 8601, when the run ended."""
    versions: dict[str, Any]
    """Of fmanet, Python and the libraries."""
    machine: Machine | dict[str, Any]
    """Where it ran."""
    weights: WeightsRecord
    """What was restored with."""
    engine: EngineRecord | dict[str, Any]
    """How the network ran."""
    options: dict[str, Any]
    """Of the command line, enough to repeat the run."""
    files: tuple[FileRecord, ...]
    """The videos in their order."""

    def as_json(self) -> str:
        """The text of the file."""
        return json.dumps(asdict(self), indent=1) + "\n"


Record = TypeVar("Record", WeightsRecord, FileRecord)


def describe_weights(name: str) -> WeightsRecord:
    """Path and digest of weights by name or path.

    Raises:
        WeightsError: they are not there.
    """
    if (path := weights_path(name)) is None:
        return WeightsRecord(name=name, path=None, sha256=None)
    path = path.absolute()
    is_named = name in installed_names()
    return WeightsRecord(name=name if is_named else str(path), path=str(path), sha256=file_sha256(path))


def report_run(
    results: Sequence[BatchResult],
    restorer: Restorer,
    *,
    weights: WeightsRecord,
    options: Mapping[str, Any],
    source_digests: Mapping[str, str | None],
) -> RunReport:
    """The report of a run that has ended.

    Args:
        results: how each video ended.
        restorer: what restored them.
        weights: as they were before the run.
        options: of the command line, without inputs and outputs.
        source_digests: of each source before the run, by its path as given.
    """
    return RunReport(
        format=FORMAT,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions(),
        machine=describe_machine(restorer.device),
        weights=weights,
        engine=EngineRecord(
            device=str(restorer.device),
            precision=restorer.precision,
            tiling=restorer.tiling,
            self_check=tuple(map(str, restorer.trials)),
        ),
        options={key: list(value) if isinstance(value, tuple) else value for key, value in options.items()},
        files=tuple(_file_record(result, source_digests) for result in results),
    )


def source_digest(path: str) -> str | None:
    """SHA-256 of a video file or of all images of a sequence in turn; None for anything that is no regular file."""
    try:
        files = list_sequence(path) if is_sequence_pattern(path) else [Path(path)]
        return sha256_of(*files) if all(os.path.isfile(name) for name in files) else None
    except (OSError, VideoReadError, ValueError):
        return None


def read_report(path: Path) -> RunReport:
    """The report in a file.

    Raises:
        OptionError: the file cannot be read or is no report that this version knows.
    """
    try:
        fields = json.loads(read_text(path))
        if fields.get("format") != FORMAT:
            raise OptionError(f"{path} has report format {fields.get('format')!r:.60}, this fmanet reads {FORMAT}")
        fields["weights"] = _checked(WeightsRecord(**fields["weights"]))
        fields["files"] = tuple(_checked(FileRecord(**file)) for file in fields["files"])
        report = RunReport(**fields)
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(f"{path} is not a report of fmanet restore: {_in_words(error):.200}") from error
    if not isinstance(report.options, dict) or not report.files:
        raise OptionError(f"{path} is not a report of fmanet restore: it has no options or no files")
    return report


def _in_words(error: Exception) -> str:
    """What is wrong with the fields, without the names of this program's classes."""
    text = re.sub(r"^\w+\.__init__\(\) ", "", str(error))
    return text.replace("got an unexpected keyword argument", "there is no field")


def _checked(record: Record) -> Record:
    """The same record, whose texts are texts that a path may have. Raises ValueError where they are not."""
    for field in fields_of(record):
        value, kind = getattr(record, field.name), str(field.type)
        is_text = isinstance(value, str) and "\0" not in value
        if is_text:
            # Half of a pair of UTF-16 is no character, and no name can have it.
            os.fsencode(value)
        if kind.startswith("str") and not is_text and not (value is None and "None" in kind):
            raise ValueError(f"{field.name} is {value!r:.60}")
    return record


def repeated_items(report: RunReport, path: Path) -> list[BatchItem]:
    """The videos of a report, whose sources have to be the very same files.

    Raises:
        OptionError: a source has changed, is gone, or was a pipe.
    """
    for file in report.files:
        if file.source == "-" or file.target == "-":
            raise OptionError(f"{path} tells of a pipe, which cannot be repeated")
        digest = source_digest(file.source)
        if digest is None or digest != file.source_sha256:
            state = "is not there" if digest is None else "has changed"
            raise OptionError(f"{file.source} {state} since {path} was written; the run cannot be repeated")
    return [
        BatchItem(Path(file.source), Path(file.target), settings=_own_settings(file, path)) for file in report.files
    ]


def check_weights(report: RunReport, path: Path) -> None:
    """Refuse weights that are not those of a report.

    Raises:
        WeightsError: the file of that name has another content now, or is gone.
    """
    now = describe_weights(report.weights.name)
    if now.sha256 != report.weights.sha256:
        raise WeightsError(
            f"weights {report.weights.name} have changed since {path} was written; name others to use them",
            remedy="model",
        )


def _file_record(result: BatchResult, source_digests: Mapping[str, str | None]) -> FileRecord:
    source, target = str(result.item.source), str(result.item.target)
    error = result.item.skip_reason or None
    if result.error is not None:
        error = " ".join(str(result.error).split())
    return FileRecord(
        source=_absolute(source),
        source_sha256=source_digests.get(source),
        target=_absolute(target),
        target_sha256=source_digest(target) if result.state == "done" else None,
        state=result.state,
        error=error,
        run=result.report.as_dict() if result.report is not None else None,
        verification=result.verification.as_dict() if result.verification is not None else None,
        settings=None if result.item.settings is None else asdict(result.item.settings),
    )


def _own_settings(file: FileRecord, path: Path) -> RestoreSettings | None:
    if file.settings is None:
        return None
    try:
        return stored_settings(file.settings)
    except (TypeError, KeyError, ValueError) as error:
        raise OptionError(f"{path} cannot be repeated: the settings of {file.source}: {error!s:.200}") from error


def _absolute(path: str) -> str:
    return path if path == "-" else str(Path(path).absolute())


def _versions() -> dict[str, Any]:
    own = {"fmanet": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    return own | {package: version(package) for package in _PACKAGES} | asdict(library_versions())
