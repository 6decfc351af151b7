"""What a batch remembers of each output, so that it can tell finished ones from others of the same name."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fmanet_cli.files import sample_sha256_of, sha256_of
from fmanet_cli.restore.journal import differences, short_name
from fmanet_cli.video.write.partial_files import write_durably

FOLDER_NAME = ".fmanet"
"""Of the records, in the folder of the outputs."""

UNRECORDED = "exists, not ours: no record of this folder tells how it was made"

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """A file as it was."""

    size_bytes: int
    """Its size."""
    changed_ns: int
    """When its content was changed last, in nanoseconds since 1970."""
    sha256: str
    """Digest of its content."""
    sample_sha256: str
    """Digest of pieces of it."""

    @classmethod
    def of(cls, path: Path) -> FileFacts:
        """The file as it is now. Raises OSError."""
        facts = path.stat()
        return cls(
            size_bytes=facts.st_size,
            changed_ns=facts.st_mtime_ns,
            sha256=sha256_of(path),
            sample_sha256=sample_sha256_of(path),
        )

    def fits(self, path: Path) -> bool:
        """Whether a file is still the same: by its size, pieces, and time of change or content. Raises OSError."""
        facts = path.stat()
        if facts.st_size != self.size_bytes:
            return False
        if sample_sha256_of(path) != self.sample_sha256:
            return False
        return facts.st_mtime_ns == self.changed_ns or sha256_of(path) == self.sha256


class Records:
    """The records of one folder of outputs, each in a small file of its own, so that several batches can share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, source: Path, target: Path, choices: Mapping[str, Any], *, verified: bool) -> None:
        """Note a finished output; choices: options and weights. Raises OSError."""
        record = {
            "format": _FORMAT,
            "source": asdict(FileFacts.of(source)),
            "output": asdict(FileFacts.of(target)),
            "choices": _plain(choices),
            "verified": verified,
        }
        path = self._path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, json.dumps(record, indent=1))

    def state(self, source: Path, target: Path, choices: Mapping[str, Any]) -> str:
        """What an output that exists is: `finished already`, or why it may not be what is asked for now."""
        record = self._read(target)
        try:
            if record is None:
                return UNRECORDED
            if not FileFacts(**record["output"]).fits(target):
                return "exists, not ours: it was changed after it was made"
            if not FileFacts(**record["source"]).fits(source):
                return "exists, made from another source of this name"
            if different := differences(record["choices"], _plain(choices), most=2):
                return f"exists, made with other options: {different}"
            return "finished already" if record["verified"] else "finished already, not verified"
        except (OSError, TypeError, KeyError, AttributeError) as error:
            return f"exists, not ours: its record cannot be used ({error})"

    def _path(self, target: Path) -> Path:
        below = Path()
        with contextlib.suppress(ValueError):
            below = target.parent.relative_to(self._folder)
        return self._folder / FOLDER_NAME / below / f"{short_name(target.name)}.json"

    def _read(self, target: Path) -> dict[str, Any] | None:
        try:
            record = json.loads(self._path(target).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        return record if isinstance(record, dict) and record.get("format") == _FORMAT else None


def _plain(choices: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from a file."""
    return dict(json.loads(json.dumps(choices, default=str)))
