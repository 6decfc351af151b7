"""What a run keeps beside its output until it ends well, so that the same command can go on after a crash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from filelock import FileLock, Timeout

from fmanet_cli._version import __version__
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.tiling import Tiling
from fmanet_cli.errors import ResumeError, VerificationError, VideoWriteError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.video.frames import Frame
from fmanet_cli.video.inspection import library_versions
from fmanet_cli.video.read.sequence import is_sequence_pattern
from fmanet_cli.video.write.partial_files import check_target, write_durably
from fmanet_cli.video.write.segments import SegmentFolder, count_frames, remove_folder

_VERSION = 1
_HEAD_NAME = "journal.json"
_LOCK_NAME = "lock"
_LONGEST_NAME_BYTES = 200
_DIFFERENCES_SHOWN = 3


class Journal:
    """The folder of one output while it is made: who makes it, from what, and the segments; a context manager.

    The folder goes when the block ends with a whole file, right or rejected, or before a segment was closed.
    """

    segments: SegmentFolder
    """The closed pieces; those of an interrupted run are there when the block begins."""
    tiling: Tiling | None
    """How the newest frames of an interrupted run were cut; None where there are none."""

    def __init__(
        self,
        target: Path,
        identity: Mapping[str, Any],
        *,
        segment_frames: int,
        resume: bool = True,
        overwrite: bool = False,
    ):
        """identity: everything that decides over the frames, as nested dictionaries of plain values.

        resume: go on with what an interrupted run has left; False begins anew.
        """
        self._target, self._overwrite, self._resume = target, overwrite, resume
        self._identity = json.loads(json.dumps(identity, default=str))
        self._segment_frames = segment_frames
        self._folder = journal_folder(target)
        self._lock = FileLock(self._folder / _LOCK_NAME, thread_local=False)

    def __enter__(self) -> Journal:
        """Raises OutputExistsError or VideoWriteError for a target that cannot be made.

        Raises ResumeError when another run is at work on it, or an interrupted run was another one.
        """
        check_target(self._target, overwrite=self._overwrite)
        self._acquire()
        try:
            self._begin()
        except BaseException:
            self._leave(keep=count_frames(self._folder) > 0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_whole = kind is None or issubclass(kind, VerificationError)
        self._leave(keep=not is_whole and bool(self.segments.segments))

    def _acquire(self) -> None:
        try:
            self._folder.mkdir(exist_ok=True)
            self._lock.acquire(timeout=0)
        except (Timeout, FileNotFoundError) as error:
            raise ResumeError(f"another run is writing {self._target}; wait until it ends or stop it") from error
        except OSError as error:
            raise VideoWriteError(f"{self._folder} cannot be written: {error.strerror or error}") from error

    def _begin(self) -> None:
        head = self._folder / _HEAD_NAME
        found = _read_head(head)
        has_frames = count_frames(self._folder) > 0
        is_same = found == self._identity
        if self._resume and has_frames and found is not None and not is_same:
            raise ResumeError(
                f"an interrupted run for {self._target.name} was another one: {_differences(found, self._identity)}; "
                "repeat its command to go on, or begin anew with --no-resume"
            )
        self.segments = SegmentFolder(self._folder, frames=self._segment_frames)
        if not self._resume or not is_same:
            self.segments.clear()
        self.tiling = _read_tiling(head) if self.segments.segments else None
        self._write_head()

    def note_tiling(self, tiling: Tiling) -> None:
        """Writes down how frames are cut from now on, so that a later part of the film is cut as this one."""
        if tiling != self.tiling:
            self.tiling = tiling
            self._write_head()

    def _write_head(self) -> None:
        head = self._folder / _HEAD_NAME
        tiling = None if self.tiling is None else asdict(self.tiling)
        try:
            write_durably(head, json.dumps({"version": _VERSION, "run": self._identity, "tiling": tiling}, indent=1))
        except OSError as error:
            raise VideoWriteError(f"{head} cannot be written: {error.strerror or error}") from error

    def _leave(self, *, keep: bool) -> None:
        # Where the system allows it, the lock file goes while it is held: whoever waits for it then sees it is gone.
        if not keep:
            remove_folder(self._folder)
        self._lock.release()
        if not keep and os.name != "posix":
            with contextlib.suppress(OSError):
                (self._folder / _LOCK_NAME).unlink(missing_ok=True)
                self._folder.rmdir()


def journal_folder(target: Path) -> Path:
    """Where the journal of an output lies."""
    name = target.name
    if len(name.encode()) > _LONGEST_NAME_BYTES:
        name = hashlib.sha256(name.encode()).hexdigest()
    return target.with_name(f".{name}.fmanet")


def kept_frames(target: str | Path) -> int:
    """Frames that an interrupted run has left for an output."""
    return count_frames(journal_folder(Path(target)))


def is_resumable(source: str, target: str) -> bool:
    """Whether a run can be gone on with: from a file that can be read again, into one file."""
    return target != "-" and not is_sequence_pattern(target) and Path(source).is_file()


def run_identity(source: str, restorer: Restorer, options: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that decides over the frames of a run; options are those of reading and writing."""
    facts = Path(source).stat()
    return {
        "source": {"name": Path(source).name, "size_bytes": facts.st_size, "changed_ns": facts.st_mtime_ns},
        "weights": {"sha256": weights_digest(restorer.model)},
        "options": dict(options),
        "engine": {
            "device": restorer.device.type,
            "precision": restorer.precision,
            "tiling": asdict(restorer.tiling),
            "padding": restorer.padding,
        },
        "software": {"fmanet": __version__, "torch": torch.__version__, "av": library_versions().av},
    }


def weights_digest(model: FMANet) -> str:
    """SHA-256 of a network's sizes, colour order and parameters, wherever they were loaded from."""
    digest = hashlib.sha256(f"{model.config} {model.colour_order}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def agreeing(frames: Iterable[Frame], pts: Sequence[int]) -> Iterator[Frame]:
    """The same frames, of which the first must have the timestamps that an interrupted run has seen.

    Raises ResumeError where they have not.
    """
    count = 0
    for frame in frames:
        if count < len(pts) and frame.pts != pts[count]:
            raise ResumeError(
                f"frame {count} has pts {frame.pts}, the interrupted run saw {pts[count]}; begin anew with --no-resume"
            )
        count += 1
        yield frame
    if count < len(pts):
        raise ResumeError(f"{count} frames are read, the interrupted run had {len(pts)}; begin anew with --no-resume")


def _read_head(path: Path) -> dict[str, Any] | None:
    """Whose journal it is; None when that cannot be told."""
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
        return head["run"] if head["version"] == _VERSION else {"journal": head["version"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_tiling(path: Path) -> Tiling | None:
    """How the frames of a journal were cut; None when that cannot be told."""
    try:
        return Tiling(**json.loads(path.read_text(encoding="utf-8"))["tiling"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    before, now = _flat(old), _flat(new)
    names = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    shown = [f"{name} was {before.get(name)} and is {now.get(name)}" for name in names[:_DIFFERENCES_SHOWN]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
