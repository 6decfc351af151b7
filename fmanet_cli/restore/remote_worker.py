"""What runs at the other end of a remote worker: one network, asked by name from the machine that leads the film."""

from __future__ import annotations

import platform
import shutil
import tempfile
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from fmanet_cli.errors import FmanetError, UnexpectedError, WorkerMismatchError
from fmanet_cli.restore.span_worker import SpanResult, SpanTask, SpanWorker, WorkerSetup
from fmanet_cli.restore.worker_facts import WorkerFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFiles:
    """What a worker must find under the same names if the disk is really shared."""

    source: str
    """The film."""
    size_bytes: int
    """Of the film."""
    changed_ns: int
    """When it was written to last, in nanoseconds since 1970."""
    token_file: str
    """A file in the folder of segments."""
    token: str
    """Its content, which is nowhere else."""

    def check(self) -> None:
        """Raise WorkerMismatchError where this machine sees other files."""
        try:
            state = Path(self.source).stat()
            found = Path(self.token_file).read_text(encoding="utf-8")
        except OSError as error:
            raise WorkerMismatchError(f"{error.filename} is not there") from error
        if found != self.token:
            raise WorkerMismatchError(f"{Path(self.token_file).parent} is another folder there")
        if (state.st_size, state.st_mtime_ns) != (self.size_bytes, self.changed_ns):
            raise WorkerMismatchError(f"{self.source} is another file there")


class RemoteWorker:
    """Restores spans far away. Every method may be called while `run` is at work.

    Errors of this package are given back as values: what carries them over a network would wrap them otherwise.
    """

    def __init__(self) -> None:
        self._worker: SpanWorker | None = None
        self._stops = threading.Event()
        self._frames_done = 0
        self._folder: Path | None = None

    def versions(self) -> WorkerFacts:
        """Asked before anything is sent that only the same version understands."""
        return WorkerFacts.here()

    def machine(self) -> str:
        """Name of this machine, for people."""
        return platform.node()

    def begin(self, setup: WorkerSetup) -> WorkerFacts | FmanetError:
        """Make the network ready; say what arrived."""
        try:
            self._worker = SpanWorker(setup.restorer())
        except FmanetError as error:
            return error
        return WorkerFacts.here(setup.model)

    def check_shared(self, files: SharedFiles) -> FmanetError | None:
        """Whether this machine sees the same files."""
        try:
            files.check()
        except FmanetError as error:
            return error
        return None

    def run(self, task: SpanTask) -> SpanResult | FmanetError:
        """Restore a span; where a film was sent here, from it and into a folder of this machine."""
        assert self._worker is not None
        self._stops.clear()
        self._frames_done = 0
        if self._folder is not None:
            film = replace(task.film, source=str(self._folder / Path(task.film.source).name), folder=self._folder)
            task = replace(task, film=film)
        try:
            return self._worker.run(task, frame_done=self._count, stops=self._stops.is_set)
        except FmanetError as error:
            return error
        except Exception as error:
            return UnexpectedError(f"{task.name}: {type(error).__name__}: {error}")

    def frames_done(self) -> int:
        """Of the current span."""
        return self._frames_done

    def stop(self) -> None:
        """Close the current span's segment with the frames that it has."""
        self._stops.set()

    def begin_film(self) -> None:
        """An empty folder of this machine for a film that is sent here; that of the last one goes."""
        self.end_film()
        self._folder = Path(tempfile.mkdtemp(prefix="fmanet-"))

    def end_film(self) -> None:
        """Remove what was sent here."""
        if self._worker is not None:
            self._worker.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def take_chunk(self, name: str, chunk: bytes) -> FmanetError | None:
        """The next bytes of a file that is sent here."""
        try:
            with self._file(name).open("ab") as file:
                file.write(chunk)
        except OSError as error:
            return UnexpectedError(f"{platform.node()} cannot hold {name}: {error.strerror or error}")
        return None

    def give_chunk(self, name: str, offset: int, count: int) -> bytes:
        """Bytes of a file that was made here; empty at its end."""
        with self._file(name).open("rb") as file:
            file.seek(offset)
            return file.read(count)

    def forget(self, name: str) -> None:
        """Remove a file that has been fetched."""
        self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / Path(name).name

    def _count(self) -> None:
        self._frames_done += 1
