"""Runs in processes of their own, which tests kill: imported anew there, so nothing of a test is shared with it."""

from __future__ import annotations

import multiprocessing
import queue
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

SEGMENT_FRAMES = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run in another process ended."""

    exit_code: int | None
    frames_done: list[int]
    frames_resumed: int | None


def run_and_kill(source: Path, target: Path, weights: Path, *, after_frames: int | None = None) -> Outcome:
    """Restore in another process; kill it without warning when it says that so many frames are done."""
    context = _context()
    said = context.Queue()
    process = context.Process(target=_restore, args=(str(source), str(target), str(weights), said))
    process.start()
    done: list[int] = []
    resumed = None
    while process.is_alive() or not said.empty():
        try:
            kind, value = said.get(timeout=0.2)
        except queue.Empty:
            continue
        if kind == "end":
            resumed = value
            break
        done.append(value)
        if after_frames is not None and value >= after_frames:
            process.kill()
            break
    process.join()
    return Outcome(process.exitcode, done, resumed)


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fmanet_cli.restore.job", "fmanet_cli.weights.checkpoint"])
    return context


def _restore(source: str, target: str, weights: str, said: Any) -> None:
    import torch

    from fmanet_cli.engine.restorer import Restorer
    from fmanet_cli.restore.job import RestoreJob
    from fmanet_cli.restore.settings import RestoreSettings
    from fmanet_cli.weights.checkpoint import load_model

    torch.set_num_threads(1)
    restorer = Restorer(load_model(weights), device="cpu", precision="fp32")
    job = RestoreJob(source, target, restorer, settings=RestoreSettings(segment_frames=SEGMENT_FRAMES))
    for progress in job.run():
        said.put(("frame", progress.frames_done))
    assert job.report is not None
    said.put(("end", job.report.frames_resumed))
