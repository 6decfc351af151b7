"""What a run keeps beside its output until it ends well, so that the same command can go on after a crash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows locks otherwise.
    fcntl = None  # type: ignore[assignment]

import torch
from filelock import FileLock, Timeout

from fmanet_cli._version import __version__
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.tiling import Tiling
from fmanet_cli.errors import OutputBusyError, ResumeError, VerificationError, VideoWriteError
from fmanet_cli.files import sample_sha256_of, sibling
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.video.frames import Frame
from fmanet_cli.video.inspection import library_versions
from fmanet_cli.video.read.sequence import is_sequence_pattern, sequence_name
from fmanet_cli.video.write.partial_files import check_target, write_durably
from fmanet_cli.video.write.plan import OutputPlan
from fmanet_cli.video.write.segments import WHOLE_NAME, SegmentFolder, count_frames, remove_folder

_VERSION = 1
_HEAD_NAME = "journal.json"
_LOCK_NAME = "lock"
_LONGEST_NAME_BYTES = 200
_ATTEMPTS = 3


class OutputLock:
    """Keeps other runs away from an output, for as long as the block lasts; a context manager."""

    def __init__(self, target: Path, *, overwrite: bool = False):
        self._target, self._overwrite = target, overwrite
        self._folder = journal_folder(target)
        self._lock = FileLock(self._folder / _LOCK_NAME, thread_local=False)
        self._made_parent = False

    def __enter__(self) -> None:
        """Raise OutputExistsError or VideoWriteError for a target that cannot be made.

        Raises OutputBusyError when another run is at work on it.
        """
        self._begin_alone()

    def __exit__(self, _kind: type[BaseException] | None, *_: object) -> None:
        # Frames that an interrupted run has left here are another one's.
        self._leave(keep=self._has_frames())

    def _has_frames(self) -> bool:
        return count_frames(self._folder) > 0

    def _begin_alone(self) -> None:
        self._check_target()
        self._acquire()
        try:
            # Whoever held the lock until now may have finished.
            self._check_target()
        except BaseException:
            self._leave(keep=self._has_frames())
            raise

    def _check_target(self) -> None:
        remove_leftover(self._target)
        if is_sequence_pattern(self._target):
            return
        check_target(self._target, overwrite=self._overwrite)

    def _acquire(self, *, seconds: float = 0, among_parts: bool = False) -> None:
        """seconds: how long to wait. among_parts: those who restore parts of the output may be at work."""
        if self._folder.is_symlink():
            raise VideoWriteError(f"{self._folder} is a symbolic link, which is not followed; remove it")
        try:
            self._made_parent = self._make_parent()
            for _ in range(_ATTEMPTS):
                self._folder.mkdir(exist_ok=True)
                # A run that ends takes its folder away between these two.
                with contextlib.suppress(FileNotFoundError, Timeout):
                    self._lock.acquire(timeout=seconds)
                    if not among_parts and (names := self._parts_at_work()):
                        self._lock.release()
                        raise OutputBusyError(f"{names[0]} of {self._target} is at work; wait until it ends or stop it")
                    return
            _refuse_without_locks(self._folder / _LOCK_NAME)
            raise OutputBusyError(f"another run is writing {self._target}; wait until it ends or stop it")
        except OSError as error:
            raise VideoWriteError(f"{self._folder} cannot be locked or written: {error.strerror or error}") from error

    def _parts_at_work(self, *, but: FileLock | None = None) -> list[str]:
        """The parts of the output that are being restored; but: one whose lock is not tried."""
        names = []
        for path in sorted(self._folder.glob("part-*.lock")):
            if but is None or path != Path(but.lock_file):
                try:
                    FileLock(path).acquire(timeout=0).lock.release()
                except Timeout:
                    names.append(path.stem)
        return names

    def _make_parent(self) -> bool:
        """The folder of an image sequence is made by the run."""
        if not is_sequence_pattern(self._target) or os.path.lexists(self._target.parent):
            return False
        self._target.parent.mkdir(exist_ok=True)
        return True

    def _leave(self, *, keep: bool) -> None:
        # The lock file is removed before it is released, where the system allows that: a run that waits for it then
        # finds no file any more and makes its own.
        if not keep:
            remove_folder(self._folder)
        self._lock.release()
        with contextlib.suppress(OSError):
            if not keep and os.name != "posix":
                (self._folder / _LOCK_NAME).unlink(missing_ok=True)
                self._folder.rmdir()
            if self._made_parent:
                self._target.parent.rmdir()


class Journal(OutputLock):
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
        super().__init__(target, overwrite=overwrite)
        self._resume = resume
        self._identity = json.loads(json.dumps(identity, default=str))
        self._segment_frames = segment_frames

    def __enter__(self) -> Journal:  # type: ignore[override]
        """As `OutputLock`; raise ResumeError when an interrupted run was another one."""
        self._begin_alone()
        try:
            self._begin()
        except BaseException:
            self._leave(keep=self._has_frames())
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        is_whole = kind is None or issubclass(kind, VerificationError)
        self._leave(keep=not is_whole and self._has_frames())

    def note_whole(self, whole: Path) -> None:
        """Remember the finished file, so that a journal that outlives its end is known for a leftover."""
        with contextlib.suppress(OSError):
            facts = whole.stat()
            write_durably(self._folder / WHOLE_NAME, json.dumps([facts.st_ino, facts.st_size]))

    def _begin(self) -> None:
        head = self._folder / _HEAD_NAME
        found = _read_head(head)
        is_same = found == self._identity
        if self._resume and self._has_frames() and found is not None and not is_same:
            raise ResumeError(
                f"an interrupted run for {self._target.name} was another one: {differences(found, self._identity)}; "
                "repeat its command to go on, or begin anew",
                remedy="resume=False",
            )
        self.segments = SegmentFolder(self._folder, frames=self._segment_frames)
        if not self._resume or not is_same:
            self.segments.clear()
        self._take_tiling()
        self._write_head()

    def _take_tiling(self) -> None:
        self.tiling = _read_tiling(self._folder / _HEAD_NAME) if self.segments.segments else None

    def note_tiling(self, tiling: Tiling) -> None:
        """Write down how frames are cut from now on, so that a later part of the film is cut as this one."""
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


def journal_folder(target: Path) -> Path:
    """Where the journal of an output lies; the patterns of one sequence share it."""
    name = sequence_name(target) if is_sequence_pattern(target) else target.name
    return sibling(target, f".{short_name(name)}.fmanet")


def short_name(name: str) -> str:
    """A file name as it is, or its digest where something that is added would make it too long."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= _LONGEST_NAME_BYTES else hashlib.sha256(encoded).hexdigest()


def remove_leftover(target: Path) -> None:
    """Remove the journal of a run that was killed after its output had got its name; others stay."""
    folder = journal_folder(target)
    try:
        inode, size_bytes = json.loads((folder / WHOLE_NAME).read_text(encoding="utf-8"))
        facts = target.stat()
    except (OSError, ValueError, TypeError, RecursionError):
        return
    if (facts.st_ino, facts.st_size) == (inode, size_bytes) and not folder.is_symlink():
        remove_folder(folder)


def _refuse_without_locks(path: Path) -> None:
    """A lock that is not given for another reason than that it is held. Raises OSError with the reason."""
    if fcntl is None:
        return
    with contextlib.suppress(BlockingIOError, FileNotFoundError), path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def kept_frames(target: str | Path) -> int:
    """Frames that an interrupted run has left for an output."""
    return count_frames(journal_folder(Path(target)))


def is_resumable(source: str, target: str) -> bool:
    """Whether a run can be resumed: it reads a file, which can be read again, and writes one file."""
    return target != "-" and not is_sequence_pattern(target) and os.path.isfile(source)


def run_identity(source: str, restorer: Restorer, options: Mapping[str, Any], plan: OutputPlan) -> dict[str, Any]:
    """Everything that decides over the frames of a run; options are those of reading and writing."""
    return {
        "source": {"name": Path(source).name, **source_facts(source)},
        "weights": {"sha256": weights_digest(restorer.model)},
        "options": dict(options),
        "output": plan.identity(),
        "engine": {
            "device": restorer.device.type,
            "precision": restorer.precision,
            "tiling": asdict(restorer.tiling),
        },
        "software": {"fmanet": __version__, "torch": torch.__version__, "av": library_versions().av},
    }


def source_facts(source: str) -> dict[str, Any]:
    """By what a source is known again: size, time of the last change, and a digest of pieces. Raises OSError."""
    facts = Path(source).stat()
    return {
        "size_bytes": facts.st_size,
        "changed_ns": facts.st_mtime_ns,
        "sample_sha256": sample_sha256_of(Path(source)),
    }


def weights_digest(model: FMANet) -> str:
    """SHA-256 of a network's sizes, colour order and parameters, wherever they were loaded from."""
    digest = hashlib.sha256(f"{model.config} {model.colour_order}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def agreeing(frames: Iterable[Frame], pts: Mapping[int, int]) -> Iterator[Frame]:
    """The same frames, of which those that were restored before must have the timestamps that they had then.

    pts: by the number of the frame. Raises ResumeError where they have not.
    """
    count = 0
    for frame in frames:
        if frame.pts != pts.get(count, frame.pts):
            raise ResumeError(
                f"frame {count} has pts {frame.pts}, the interrupted run saw {pts[count]}; begin anew",
                remedy="resume=False",
            )
        count += 1
        yield frame
    if pts and count <= max(pts):
        raise ResumeError(
            f"{count} frames are read, the interrupted run had {max(pts) + 1}; begin anew", remedy="resume=False"
        )


def _read_head(path: Path) -> dict[str, Any] | None:
    """Whose journal it is; None when that cannot be told."""
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
        run = head["run"] if head["version"] == _VERSION else {"journal": head["version"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return run if isinstance(run, dict) else None


def _read_tiling(path: Path) -> Tiling | None:
    """How the frames of a journal were cut; None when that cannot be told."""
    try:
        return Tiling(**json.loads(path.read_text(encoding="utf-8"))["tiling"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def head_of(folder: Path) -> dict[str, Any] | None:
    """The identity of the run whose journal a folder is; None when that cannot be told."""
    return _read_head(folder / _HEAD_NAME)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], *, most: int = 3) -> str:
    """What differs between the identities of two runs: `options.crf was 18 and is 20`; most: how many are named."""
    before, now = _flat(old), _flat(new)
    names = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    shown = [f"{name} was {before.get(name)!s:.40} and is {now.get(name)!s:.40}" for name in names[:most]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
