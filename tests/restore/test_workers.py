"""Films restored by several workers: the same frames as by one process, whoever dies on the way."""

from __future__ import annotations

import functools
import multiprocessing
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import DeviceError, OptionError, VideoReadError, WorkerMismatchError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.job import RestoreJob
from fmanet_cli.restore.journal import journal_folder, kept_frames
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.restore.span_pool import SpanPool
from fmanet_cli.restore.span_worker import SpanResult, SpanTask, SpanWorker, WorkerSetup
from fmanet_cli.restore.worker_facts import WorkerFacts
from fmanet_cli.restore.workers import NoRoomError, ProcessWorker, Worker, WorkerDiedError
from fmanet_cli.video.write.segments import SegmentFolder
from support.shared_film import FRAMES, assert_equal

AnyWorker = TypeVar("AnyWorker", bound=Worker)

SEGMENT_FRAMES = 8


class LocalWorker:
    """A worker in this process, which fails as it is told."""

    def __init__(self, setup: WorkerSetup, fails: Callable[[SpanTask], Exception | None] = lambda _: None) -> None:
        self._worker, self._fails = SpanWorker(setup.restorer()), fails

    def run(self, task: SpanTask, frame_done: Callable[[], None], stops: threading.Event) -> SpanResult:
        if (error := self._fails(task)) is not None:
            raise error
        return self._worker.run(task, frame_done=frame_done, stops=stops.is_set)

    def close(self) -> None:
        self._worker.close()


def restore(
    source: Path,
    target: Path,
    model: FMANet,
    starters: Sequence[Callable[[], Worker]] = (),
    **changes: object,
) -> RestoreJob:
    restorer = Restorer(model, device="cpu", precision="fp32")
    settings = RestoreSettings(**{"segment_frames": SEGMENT_FRAMES, **changes})  # type: ignore[arg-type]
    with SpanPool(starters) as pool:
        job = RestoreJob(source, target, restorer, settings=settings, pool=pool if starters else None)
        for _ in job.run():
            pass
    return job


def noted_starts(start: Callable[[], AnyWorker]) -> tuple[list[AnyWorker], Callable[[], AnyWorker]]:
    """A list that grows by each worker that is begun, and what begins them."""
    begun: list[AnyWorker] = []

    def noting() -> AnyWorker:
        begun.append(start())
        return begun[-1]

    return begun, noting


def test_two_processes_make_the_file_of_one(clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup) -> None:
    choices = {"strength": 0.5, "source_look": "camera"}
    restore(clip, tmp_path / "whole.mp4", tiny_model, **choices)
    starters = [functools.partial(ProcessWorker, setup)] * 2
    job = restore(clip, tmp_path / "shared.mp4", tiny_model, starters, **choices)
    assert job.report is not None
    assert job.report.frames == FRAMES
    assert job.report.verification is not None
    assert_equal(tmp_path / "shared.mp4", tmp_path / "whole.mp4")


def test_a_killed_worker_costs_its_span_only(
    clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup
) -> None:
    restore(clip, tmp_path / "whole.mp4", tiny_model)
    begun, start = noted_starts(lambda: ProcessWorker(setup))
    restorer = Restorer(tiny_model, device="cpu", precision="fp32")
    settings = RestoreSettings(segment_frames=SEGMENT_FRAMES)
    with SpanPool([start]) as pool:
        for progress in RestoreJob(clip, tmp_path / "shared.mp4", restorer, settings=settings, pool=pool).run():
            if progress.frames_done == 12 and len(begun) == 1:
                (process,) = multiprocessing.active_children()
                process.kill()
    assert len(begun) == 2
    assert_equal(tmp_path / "shared.mp4", tmp_path / "whole.mp4")


def test_spans_are_taken_in_any_order_and_kept(
    clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup
) -> None:
    restore(clip, tmp_path / "whole.mp4", tiny_model)
    target = tmp_path / "shared.mp4"

    def fails(task: SpanTask) -> Exception | None:
        return VideoReadError("no luck") if task.first == 16 else None

    with pytest.raises(VideoReadError, match="no luck"):
        restore(clip, target, tiny_model, [lambda: LocalWorker(setup, fails)])
    kept = kept_frames(target)
    assert kept > 0
    assert not target.exists()
    job = restore(clip, target, tiny_model)
    assert job.report is not None
    assert job.report.frames_resumed == kept
    assert_equal(target, tmp_path / "whole.mp4")


def test_a_span_is_tried_three_times(clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup) -> None:
    tried: list[int] = []

    def fails(task: SpanTask) -> Exception | None:
        if task.first != 8:
            return None
        tried.append(task.first)
        return WorkerDiedError("killed")

    with pytest.raises(DeviceError, match=r"frames 8 to 15 of clip\.mp4 failed 3 times: killed"):
        restore(clip, tmp_path / "out.mp4", tiny_model, [lambda: LocalWorker(setup, fails)])
    assert len(tried) == 3
    assert kept_frames(tmp_path / "out.mp4") > 0


def test_a_span_is_done_only_when_its_segment_is_whole(
    clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup
) -> None:
    restore(clip, tmp_path / "whole.mp4", tiny_model)
    damaged: list[int] = []

    class Careless(LocalWorker):
        def run(self, task: SpanTask, frame_done: Callable[[], None], stops: threading.Event) -> SpanResult:
            result = super().run(task, frame_done, stops)
            if task.first == 16 and len(damaged) < 2:
                damaged.append(task.first)
                segment = task.film.folder / "000000016.segment"
                segment.write_bytes(segment.read_bytes()[:-1] + b"?")
            return result

    job = restore(clip, tmp_path / "shared.mp4", tiny_model, [lambda: Careless(setup)])
    assert len(damaged) == 2
    assert job.report is not None
    assert_equal(tmp_path / "shared.mp4", tmp_path / "whole.mp4")


def test_progress_forgets_the_frames_of_a_span_that_is_begun_anew(
    clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup
) -> None:
    died: list[int] = []

    class Mortal(LocalWorker):
        def run(self, task: SpanTask, frame_done: Callable[[], None], stops: threading.Event) -> SpanResult:
            result = super().run(task, frame_done, stops)
            if not died:
                died.append(task.first)
                raise WorkerDiedError("killed at its last frame")
            return result

    restorer = Restorer(tiny_model, device="cpu", precision="fp32")
    settings = RestoreSettings(segment_frames=SEGMENT_FRAMES)
    with SpanPool([lambda: Mortal(setup)]) as pool:
        run = RestoreJob(clip, tmp_path / "out.mp4", restorer, settings=settings, pool=pool).run()
        done = [progress.frames_done for progress in run]
    assert died == [0]
    assert done[-1] == max(done) == FRAMES


def test_whoever_restores_them_spans_begin_at_cuts(
    clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup
) -> None:
    cuts = tmp_path / "cuts.txt"
    cuts.write_text("2\n6\n20\n21\n")
    begins = [0, 6, 14, 20, 28, 36, 44]

    def fails(task: SpanTask) -> Exception | None:
        return VideoReadError("no luck") if task.first == begins[-1] else None

    kept = tmp_path / "shared.mp4", tmp_path / "alone.mp4"
    with pytest.raises(VideoReadError, match="no luck"):
        restore(clip, kept[0], tiny_model, [lambda: LocalWorker(setup, fails)], scene_detect=str(cuts))
    run = RestoreJob(
        clip,
        kept[1],
        Restorer(tiny_model, device="cpu", precision="fp32"),
        settings=RestoreSettings(segment_frames=SEGMENT_FRAMES, scene_detect=str(cuts)),
    ).run()
    with pytest.raises(ZeroDivisionError):
        for progress in run:
            if progress.frames_done == FRAMES:
                run.throw(ZeroDivisionError)
    for target in kept:
        folder = SegmentFolder(journal_folder(target), frames=SEGMENT_FRAMES)
        assert [segment.first for segment in folder.segments] == begins[:-1]
    for target in kept:
        restore(clip, target, tiny_model, scene_detect=str(cuts))
    assert_equal(*kept)


def test_a_worker_without_room_leaves_its_span_to_others(
    clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmanet_cli.restore.span_pool._SECONDS_BETWEEN_LOOKS", 0.01)
    asked: list[int] = []

    def start() -> Worker:
        asked.append(0)
        raise NoRoomError("its machine is gone")

    job = restore(clip, tmp_path / "shared.mp4", tiny_model, [start, lambda: LocalWorker(setup)])
    assert job.report is not None
    assert job.report.frames == FRAMES
    assert asked
    monkeypatch.setattr("fmanet_cli.restore.span_pool.ROOM_SECONDS", 0.1)
    with pytest.raises(DeviceError, match=r"no worker could begin for \d+ s: its machine is gone"):
        restore(clip, tmp_path / "none.mp4", tiny_model, [start, start])


def test_a_process_with_other_software_or_weights_is_refused(
    clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup
) -> None:
    def start() -> Worker:
        worker = ProcessWorker(setup)
        worker.facts = replace(worker.facts, fmanet="0.0.1", weights="5" * 64)
        return worker

    with pytest.raises(WorkerMismatchError, match=r"fmanet .* instead of 0\.0\.1, weights \w+ instead of 555"):
        restore(clip, tmp_path / "out.mp4", tiny_model, [start])
    facts = WorkerFacts.here(tiny_model)
    facts.check(replace(facts, weights=""), who="a worker that has none yet")


def test_stopping_closes_the_running_spans(clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup) -> None:
    restore(clip, tmp_path / "whole.mp4", tiny_model)
    target = tmp_path / "shared.mp4"
    restorer = Restorer(tiny_model, device="cpu", precision="fp32")
    settings = RestoreSettings(segment_frames=30)
    with SpanPool([lambda: LocalWorker(setup)]) as pool:
        run = RestoreJob(clip, target, restorer, settings=settings, pool=pool).run()
        while next(run).frames_done < 5:
            pass
        with pytest.raises(KeyboardInterrupt):
            run.throw(KeyboardInterrupt)
    kept = kept_frames(target)
    assert 5 <= kept < FRAMES
    job = restore(clip, target, tiny_model, segment_frames=30)
    assert job.report is not None
    assert job.report.frames_resumed == kept


def test_several_workers_need_an_output_in_pieces(
    clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup
) -> None:
    with pytest.raises(OptionError, match="in one piece, which cannot be shared"):
        restore(clip, tmp_path / "out.mp4", tiny_model, [lambda: LocalWorker(setup)], segment_frames=0)


def test_a_worker_that_cannot_begin_fails_the_film(clip: Path, tmp_path: Path, tiny_model: FMANet) -> None:
    def start() -> Worker:
        raise OptionError("no such worker")

    with pytest.raises(OptionError, match="no such worker"):
        restore(clip, tmp_path / "out.mp4", tiny_model, [start])


def test_workers_stay_for_the_next_film(clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup) -> None:
    begun, start = noted_starts(lambda: LocalWorker(setup))
    restorer = Restorer(tiny_model, device="cpu", precision="fp32")
    settings = RestoreSettings(segment_frames=SEGMENT_FRAMES)
    with SpanPool([start]) as pool:
        for name in ("a.mp4", "b.mp4"):
            for _ in RestoreJob(clip, tmp_path / name, restorer, settings=settings, pool=pool).run():
                pass
    assert len(begun) == 1
    assert_equal(tmp_path / "b.mp4", tmp_path / "a.mp4")


def test_a_process_told_to_stop_takes_the_next_span(
    clip: Path, tmp_path: Path, tiny_model: FMANet, setup: WorkerSetup
) -> None:
    restore(clip, tmp_path / "whole.mp4", tiny_model)
    begun, start = noted_starts(lambda: ProcessWorker(setup))
    restorer = Restorer(tiny_model, device="cpu", precision="fp32")
    settings = RestoreSettings(segment_frames=SEGMENT_FRAMES)
    with SpanPool([start]) as pool:
        run = RestoreJob(clip, tmp_path / "a.mp4", restorer, settings=settings, pool=pool).run()
        while next(run).frames_done < 3:
            pass
        with pytest.raises(KeyboardInterrupt):
            run.throw(KeyboardInterrupt)
        for _ in RestoreJob(clip, tmp_path / "b.mp4", restorer, settings=settings, pool=pool).run():
            pass
    assert len(begun) == 1
    assert_equal(tmp_path / "b.mp4", tmp_path / "whole.mp4")
