"""Where weights lie on this machine, and the record kept beside each installed file."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from fmanet_cli.errors import ChecksumError, WeightsError, did_you_mean
from fmanet_cli.files import replacing, sha256_of
from fmanet_cli.weights.registry import EMBEDDED_FOLDER, PRETRAINED, WeightsRow

RANDOM_NAMES = ("random:paper", "random:lite", "random:base")
"""Names of seeded random weights: they exist only in memory."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that weights were made from: a download, an archive inside it, or one of the authors' two files."""

    name: str
    """File name, without its folder."""
    sha256: str
    """Digest of its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallRecord:
    """What is remembered about an installed file, kept as JSON beside it."""

    sha256: str
    """Digest of the installed file."""
    installed: str
    """When it was installed: ISO 8601, UTC."""
    source: str
    """URL or names of the files it was made from."""
    source_files: tuple[SourceFile, ...]
    """The files it was made from, outermost archive first."""
    licence_accepted: str | None
    """When and how the user agreed to the licence notice; None where there was none."""


def cache_folder() -> Path:
    """Folder of downloaded and imported weights: `FMANET_CACHE`, or the user's cache folder of this system."""
    chosen = os.environ.get("FMANET_CACHE")
    if chosen:
        return home_path(chosen) / "weights"
    # Here, because embedded weights and files load where it is missing.
    import platformdirs

    return platformdirs.user_cache_path("fmanet") / "weights"


def home_path(text: str | Path) -> Path:
    """A path with `~` put in place; one with an unknown user stays as it is."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises RuntimeError


def check_name(name: str) -> str:
    """Return `name` if weights can be installed under it, else raise `WeightsError`."""
    if not _NAME.fullmatch(name):
        raise WeightsError(f"weights cannot be named {name!r}: use up to 64 letters, digits, hyphens and underscores")
    if name in PRETRAINED and PRETRAINED[name].embedded:
        raise WeightsError(f"{name!r} is the name of weights inside the package: choose another name")
    return name


def cached_path(name: str) -> Path:
    """Where the weights called `name` lie, or will lie, in the cache."""
    return cache_folder() / f"{name}.safetensors"


def installed_names() -> list[str]:
    """Names of all usable weights: the embedded ones, then those of the cache by name."""
    embedded = [row.name for row in PRETRAINED.values() if row.embedded and os.path.isfile(EMBEDDED_FOLDER / row.file)]
    try:
        cached = [Path(name) for name in os.listdir(cache_folder())]  # noqa: PTH208
    except FileNotFoundError:
        cached = []
    except OSError as error:
        raise WeightsError(f"the folder of weights {cache_folder()} cannot be read: {error.strerror}") from error
    return embedded + sorted(
        path.stem for path in cached if path.suffix == ".safetensors" and _NAME.fullmatch(path.stem)
    )


def installed_path(name: str) -> Path:
    """Path of the installed weights called `name`.

    Raises `WeightsError` for weights that are not installed, with the command that installs them, and for unknown
    names, with the closest known one.
    """
    row = PRETRAINED.get(name)
    if row and row.embedded:
        path = EMBEDDED_FOLDER / row.file
        if not os.path.isfile(path):
            raise WeightsError(f"weights {name!r} are missing from the package ({path}): install fmanet-cli again")
        return path
    if _NAME.fullmatch(name) and os.path.isfile(path := cached_path(name)):
        return path
    if row:
        raise WeightsError(f"weights {name!r} are not installed: run 'fmanet weights download {name}'")
    raise _unknown(name, [*PRETRAINED, *installed_names(), *RANDOM_NAMES])


def weights_path(name: str) -> Path | None:
    """Where weights by name or path lie; None for random ones. Raises `WeightsError` as `installed_path`."""
    if name in RANDOM_NAMES:
        return None
    return installed_path(name) if name in installed_names() else home_path(name)


def find_row(name: str) -> WeightsRow:
    """The table's row called `name`; raise `WeightsError` with the closest name where there is none."""
    if name not in PRETRAINED:
        raise _unknown(name, list(PRETRAINED))
    return PRETRAINED[name]


def file_sha256(path: Path) -> str:
    """SHA-256 digest of a file, in hexadecimal. Raises `WeightsError` if it cannot be."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error


def record_path(name: str) -> Path:
    """Where the record of the cached weights called `name` lies."""
    return cached_path(name).with_suffix(".json")


def read_record(name: str) -> InstallRecord | None:
    """The record of the cached weights called `name`, or None where there is none."""
    path = record_path(name)
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(SourceFile(**entry) for entry in fields.pop("source_files"))
        return InstallRecord(**fields, source_files=files)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(f"{path} cannot be read as a record of weights: delete it and install again") from error


def write_record(name: str, record: InstallRecord) -> None:
    """Write the record of the cached weights called `name`."""
    with replacing(record_path(name), make_folders=True) as temporary:
        temporary.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")


def verify_installed(name: str) -> str:
    """Recompute the digest of installed weights and return it.

    Raises `ChecksumError` where it is not the one in the table or in the record, or where none was recorded.
    """
    path = installed_path(name)
    row = PRETRAINED.get(name)
    if row and row.embedded:
        expected, remedy = row.sha256, "install fmanet-cli again"
    else:
        record = read_record(name)
        expected, remedy = (record.sha256 if record else None), f"run 'fmanet weights remove {name}' and install again"
    if expected is None:
        raise ChecksumError(f"{path} has no recorded digest: {remedy}")
    found = file_sha256(path)
    if found != expected:
        raise ChecksumError(f"{path} has changed: SHA-256 is {found}, expected {expected}: {remedy}")
    return found


def remove_installed(name: str) -> Path:
    """Delete the cached weights called `name` and return where they lay.

    The record of downloaded weights stays, so that a later download is held against the first one. Raises
    `WeightsError` for embedded weights and for names that are not installed.
    """
    row = PRETRAINED.get(name)
    if row and row.embedded:
        raise WeightsError(f"weights {name!r} are part of the package and cannot be removed")
    path = installed_path(name)
    try:
        path.unlink()
        if not row:
            record_path(name).unlink(missing_ok=True)
    except OSError as error:
        raise WeightsError(f"{path} cannot be removed: {error.strerror or error}") from error
    return path


def utc_now() -> str:
    """The time, ISO 8601 to the second, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _unknown(name: str, known: list[str]) -> WeightsError:
    names = ", ".join(dict.fromkeys(known))
    return WeightsError(f"unknown weights {name!r}; known names are {names}.{did_you_mean(name, known)}")
