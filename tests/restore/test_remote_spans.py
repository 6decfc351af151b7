"""Workers on other machines, with a thread pool in place of the engine that carries the calls."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import DeviceError, WorkerMismatchError
from fmanet_cli.model.fmanet import FMANet, random_model
from fmanet_cli.restore import remote_spans
from fmanet_cli.restore.job import RestoreJob
from fmanet_cli.restore.journal import journal_folder, kept_frames
from fmanet_cli.restore.remote_spans import RemoteSpans
from fmanet_cli.restore.remote_worker import RemoteWorker, SharedFiles
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.restore.span_pool import SpanPool
from fmanet_cli.restore.span_worker import WorkerSetup
from fmanet_cli.restore.worker_facts import WorkerFacts
from fmanet_cli.restore.workers import Worker, WorkerDiedError
from support.shared_film import FRAMES, assert_equal


class Elsewhere:
    """A remote worker in threads of this process; what goes there and back is pickled, as over a network."""

    def __init__(self, hears: Callable[[str], None] = lambda _: None) -> None:
        self.worker = RemoteWorker()
        self.calls: list[str] = []
        self.largest = 0
        self.has_ended = False
        self._hears = hears
        self._threads = ThreadPoolExecutor(3)

    def submit(self, method: str, *arguments: object, name: str = "") -> Future[Any]:
        self.calls.append(f"{method}({name})" if name else method)
        self._hears(method)
        sent = pickle.dumps(arguments)
        self.largest = max(self.largest, len(sent))
        return self._threads.submit(self._call, method, sent)

    def _call(self, method: str, sent: bytes) -> Any:
        answer = pickle.dumps(getattr(self.worker, method)(*pickle.loads(sent)))
        self.largest = max(self.largest, len(answer))
        return pickle.loads(answer)

    def send_setup(self, setup: WorkerSetup) -> Future[Any]:
        return self._threads.submit(self.worker.begin, pickle.loads(pickle.dumps(setup)))

    def end(self) -> None:
        self.has_ended = True
        self._threads.shutdown(wait=False)


def start(setup: WorkerSetup, remote: Elsewhere, *, ships: bool = False) -> Worker:
    return RemoteSpans(remote, setup, WorkerFacts.here(setup.model), ships=ships)


def restore(clip: Path, target: Path, model: FMANet, *starters: Callable[[], Worker]) -> int:
    restorer = Restorer(model, device="cpu", precision="fp32")
    with SpanPool(starters) as pool:
        settings = RestoreSettings(segment_frames=8)
        job = RestoreJob(clip, target, restorer, settings=settings, pool=pool if starters else None)
        done = [progress.frames_done for progress in job.run()]
    return done[-1]


@pytest.mark.parametrize("ships", [False, True])
def test_remote_workers_make_the_file_of_one_process(
    clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup, monkeypatch: pytest.MonkeyPatch, ships: bool
) -> None:
    monkeypatch.setattr(remote_spans, "CHUNK_BYTES", 2000)
    monkeypatch.setattr(remote_spans, "_POLL_SECONDS", 0.01)
    restore(clip, tmp_path / "whole.mp4", tiny_model)
    remotes = [Elsewhere(), Elsewhere()]
    starters = [functools.partial(start, setup, remote, ships=ships) for remote in remotes]
    assert restore(clip, tmp_path / "shared.mp4", tiny_model, *starters) == FRAMES
    assert_equal(tmp_path / "shared.mp4", tmp_path / "whole.mp4")
    calls = [call for remote in remotes for call in remote.calls]
    assert "run(frames 8 to 15 of clip.mp4)" in calls
    assert ("take_chunk" in calls) == ships
    if ships:
        # No call carries more than a piece of a file, or a task.
        assert max(remote.largest for remote in remotes) < 8000
        assert clip.stat().st_size > 8000
    assert all(remote.has_ended for remote in remotes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "shared.mp4", "whole.mp4"]


@pytest.mark.parametrize("ships", [False, True])
def test_a_lost_machine_costs_its_span_only(
    clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup, ships: bool
) -> None:
    restore(clip, tmp_path / "whole.mp4", tiny_model)
    begun: list[Elsewhere] = []

    def begin() -> Worker:
        spans: list[str] = []

        def hears(method: str) -> None:
            spans.extend([method] if method == "run" else [])
            if len(begun) == 1 and len(spans) == 2:
                raise WorkerDiedError("the power failed")

        begun.append(Elsewhere(hears))
        return start(setup, begun[-1], ships=ships)

    assert restore(clip, tmp_path / "shared.mp4", tiny_model, begin) == FRAMES
    assert len(begun) == 2
    assert_equal(tmp_path / "shared.mp4", tmp_path / "whole.mp4")


def test_other_software_or_weights_are_refused_on_joining(tiny_model: FMANet, setup: WorkerSetup) -> None:
    others = Elsewhere()
    others.worker.versions = lambda: replace(WorkerFacts.here(), fmanet="0.0.1")  # type: ignore[method-assign]
    with pytest.raises(WorkerMismatchError, match=r"the worker on \S+ has fmanet 0\.0\.1 instead of"):
        start(setup, others)
    assert others.has_ended
    changed = replace(setup, model=random_model(tiny_model.config, seed=9))
    with pytest.raises(WorkerMismatchError, match=r"has weights \w+ instead of"):
        RemoteSpans(Elsewhere(), changed, WorkerFacts.here(tiny_model), ships=False)


def test_a_disk_that_is_not_shared_is_told_of(
    clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup
) -> None:
    def sees(change: Callable[[SharedFiles], SharedFiles]) -> Worker:
        remote = Elsewhere()
        check = remote.worker.check_shared
        remote.worker.check_shared = lambda files: check(change(files))  # type: ignore[method-assign]
        return start(setup, remote)

    (tmp_path / "token").write_text("of another folder")
    changes: dict[str, Callable[[SharedFiles], SharedFiles]] = {
        "is not there": lambda files: replace(files, source="/no/such/film.mp4"),
        "is another file there": lambda files: replace(files, changed_ns=1),
        "is another folder there": lambda files: replace(files, token_file=str(tmp_path / "token")),
    }
    for said, change in changes.items():
        with pytest.raises(WorkerMismatchError, match=f"does not share the disk: .*{said}") as caught:
            restore(clip, tmp_path / "out.mp4", tiny_model, functools.partial(sees, change))
        assert caught.value.remedy == "ship"
    assert not journal_folder(tmp_path / "out.mp4").exists()


def test_stopping_closes_the_running_spans(clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup) -> None:
    restorer = Restorer(tiny_model, device="cpu", precision="fp32")
    with SpanPool([lambda: start(setup, Elsewhere(), ships=True)]) as pool:
        job = RestoreJob(
            clip, tmp_path / "out.mp4", restorer, settings=RestoreSettings(segment_frames=FRAMES), pool=pool
        )
        run = job.run()
        while next(run).frames_done < 3:
            pass
        with pytest.raises(KeyboardInterrupt):
            run.throw(KeyboardInterrupt)
    assert 3 <= kept_frames(tmp_path / "out.mp4") <= FRAMES


def test_what_nobody_foresaw_there_fails_the_film_in_one_line(
    clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup
) -> None:
    def begin() -> Worker:
        remote = Elsewhere()
        worker = start(setup, remote)
        remote.worker.run = lambda task: task // 0  # type: ignore[method-assign,assignment,return-value]
        return worker

    with pytest.raises(DeviceError, match=r"frames \d+ to \d+ of clip\.mp4 failed 3 times: the worker is lost"):
        restore(clip, tmp_path / "out.mp4", tiny_model, begin)
