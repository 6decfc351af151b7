"""A worker on another machine as the pool of this one sees it, whatever carries the calls."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from fmanet_cli.errors import WorkerMismatchError
from fmanet_cli.restore.remote_worker import SharedFiles
from fmanet_cli.restore.span_worker import FilmTask, SpanResult, SpanTask, WorkerSetup
from fmanet_cli.restore.worker_facts import WorkerFacts
from fmanet_cli.restore.workers import WorkerDiedError
from fmanet_cli.video.write.partial_files import PART_SUFFIX, replace_durably
from fmanet_cli.video.write.segments import segment_names

CHUNK_BYTES = 8 << 20
"""Files are sent in pieces of this size, one after the other: what carries them never holds more for a worker."""

_POLL_SECONDS = 0.2
_END_SECONDS = 5.0


class Remote(Protocol):
    """A `RemoteWorker` somewhere, in the manner of an executor."""

    def submit(self, method: str, *arguments: object, name: str = "") -> Future[Any]:
        """Call a method there; name: of the call, for those who look at the engine. Raises WorkerDiedError."""
        ...

    def send_setup(self, setup: WorkerSetup) -> Future[Any]:
        """Call `begin` with the network, which the engine may keep for all."""
        ...

    def end(self) -> None:
        """End it; harmless when it is gone."""
        ...


class RemoteSpans:
    """A worker on another machine (a `Worker`)."""

    def __init__(self, remote: Remote, setup: WorkerSetup, facts: WorkerFacts, *, ships: bool) -> None:
        """Let it join.

        Args:
            remote: where it is.
            setup: the network.
            facts: what it must have too.
            ships: send sources there and segments back; else it must see the same files.

        Raises:
            WorkerMismatchError: it has other software, or other weights arrived.
            WorkerDiedError: it is gone already.
        """
        self._remote, self._ships = remote, ships
        self._film: FilmTask | None = None
        try:
            self._who = f"the worker on {self._ask('machine')}"
            facts.check(self._ask("versions"), who=self._who)
            facts.check(_answer(remote.send_setup(setup)), who=self._who)
        except BaseException:
            remote.end()
            raise

    def run(self, task: SpanTask, frame_done: Any, stops: threading.Event) -> SpanResult:
        """As `Worker.run`."""
        task = replace(task, film=_absolute(task.film))
        if self._film is None or (self._film.source, self._film.folder) != (task.film.source, task.film.folder):
            self._film = None
            self._begin_film(task.film)
            self._film = task.film
        seen, is_told = 0, False
        future = self._remote.submit("run", task, name=task.name)
        while not wait([future], timeout=_POLL_SECONDS).done:
            if stops.is_set() and not is_told:
                self._remote.submit("stop")
                is_told = True
            now = self._ask("frames_done")
            for _ in range(now - seen):
                frame_done()
            seen = max(seen, now)
        result = _answer(future)
        assert isinstance(result, SpanResult)
        for _ in range(result.frames - seen):
            frame_done()
        if self._ships:
            self._fetch_segment(result.first, task.film.folder)
        return result

    def close(self) -> None:
        """As `Worker.close`."""
        with contextlib.suppress(Exception):
            self._remote.submit("end_film").result(_END_SECONDS)
        self._remote.end()

    def _begin_film(self, film: FilmTask) -> None:
        if self._ships:
            self._ask("begin_film")
            with Path(film.source).open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    self._ask("take_chunk", Path(film.source).name, chunk)
            return
        with _shared_files(film) as files:
            try:
                self._ask("check_shared", files)
            except WorkerMismatchError as error:
                raise WorkerMismatchError(
                    f"{self._who} does not share the disk: {error}; send the films instead", remedy="ship"
                ) from error

    def _fetch_segment(self, first: int, folder: Path) -> None:
        """The file first, then its table: a segment counts when it has one."""
        for name in segment_names(first):
            part = folder / f"{name}.{secrets.token_hex(4)}{PART_SUFFIX}"
            try:
                with part.open("wb") as file:
                    while chunk := self._ask("give_chunk", name, file.tell(), CHUNK_BYTES):
                        file.write(chunk)
                replace_durably(part, folder / name)
            finally:
                part.unlink(missing_ok=True)
            self._ask("forget", name)

    def _ask(self, method: str, *arguments: object) -> Any:
        return _answer(self._remote.submit(method, *arguments))


def _answer(future: Future[Any]) -> Any:
    """What came back; raise it where it is an error of this package."""
    try:
        answer = future.result()
    except WorkerDiedError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise WorkerDiedError(f"the worker is lost: {lines[0]}") from error
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _absolute(film: FilmTask) -> FilmTask:
    return replace(film, source=str(Path(film.source).absolute()), folder=film.folder.absolute())


@contextlib.contextmanager
def _shared_files(film: FilmTask) -> Iterator[SharedFiles]:
    """A file of this moment in the folder of segments, and what else a worker must see."""
    token_file, token = film.folder / f"shared.{secrets.token_hex(4)}.token", secrets.token_hex(16)
    state = Path(film.source).stat()
    try:
        token_file.write_text(token, encoding="utf-8")
        yield SharedFiles(
            source=film.source,
            size_bytes=state.st_size,
            changed_ns=state.st_mtime_ns,
            token_file=os.fspath(token_file),
            token=token,
        )
    finally:
        token_file.unlink(missing_ok=True)
