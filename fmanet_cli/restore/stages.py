"""The stages of a run in one process, side by side: frames are read and noted, restored, and encoded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator

from fmanet_cli.engine.run import RestorationRun, no_frame
from fmanet_cli.restore.journal import Journal
from fmanet_cli.restore.pipeline import BackgroundConsumer, Prefetched
from fmanet_cli.verify.likeness import Originals
from fmanet_cli.video.frames import Frame, PlanarFrame
from fmanet_cli.video.pixels.colour import PlaneFormat
from fmanet_cli.video.read.timeline import TimelineRecorder
from fmanet_cli.video.write.span_grid import SpanGrid
from fmanet_cli.video.write.writer import VideoWriter

QUEUE_FRAMES = 3
"""Frames that wait between two stages; enough to even out their times."""

DECODING = "decoding and finding cuts"
NETWORK = "the network, with its waiting for frames"
WAITING_FOR_DECODER = "the network waiting for frames"
ENCODING = "encoding"
WAITING_FOR_ENCODER = "the network waiting for the encoder"
"""The stages of `RestoreReport.stage_seconds`: they tell which part of a run holds up the others."""


def noted(
    frames: Iterable[Frame],
    recorder: TimelineRecorder,
    originals: Originals | None,
    grid: SpanGrid | None,
    stages: dict[str, float],
) -> Iterator[Frame]:
    """The same frames, once is noted what segments and the check at the end need to know of them."""
    began = time.perf_counter()
    for frame in frames:
        recorder.note(frame)
        if originals is not None:
            originals.note(frame.image)
        if grid is not None:
            grid.add(starts_shot=frame.starts_shot)
        stages[DECODING] += time.perf_counter() - began
        yield frame
        began = time.perf_counter()


def in_this_process(
    frames: Iterable[Frame],
    writer: VideoWriter,
    restoration: RestorationRun,
    journal: Journal | None,
    stages: dict[str, float],
) -> Generator[int, None, None]:
    """Restore every frame that is not in a closed segment yet; yield 1 after each."""
    plane_format, size = writer.plane_format, (writer.height, writer.width)
    skips = journal.segments.holds if journal is not None else no_frame
    tiling = None
    with (
        Prefetched(frames, QUEUE_FRAMES) as decoded,
        contextlib.closing(restored_frames(restoration, decoded, plane_format, size, skips=skips)) as restored,
        BackgroundConsumer(writer.write, depth=QUEUE_FRAMES) as encoder,
    ):
        began = time.perf_counter()
        for frame in restored:
            stages[NETWORK] += time.perf_counter() - began
            if journal is not None and restoration.tiling is not tiling:
                tiling = restoration.tiling
                journal.note_tiling(tiling)
            encoder.put(frame)
            yield 1
            began = time.perf_counter()
    stages[WAITING_FOR_DECODER] = decoded.waiting_seconds
    stages[ENCODING], stages[WAITING_FOR_ENCODER] = encoder.working_seconds, encoder.waiting_seconds


def restored_frames(
    run: RestorationRun,
    frames: Iterable[Frame],
    plane_format: PlaneFormat | None,
    size: tuple[int, int],
    *,
    skips: Callable[[int], bool],
) -> Generator[Frame | PlanarFrame, None, None]:
    """The frames of (height, width) that are not skipped: as planes where the encoder takes them."""
    if plane_format is not None:
        return run.restore_planar(frames, plane_format, size=size, skips=skips)
    return run.restore(frames, size=size, skips=skips)
