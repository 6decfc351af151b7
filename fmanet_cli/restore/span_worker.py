"""One span of a film restored and closed as a segment: in this process, another one, or on another machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fmanet_cli.engine.device_errors import device_errors
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.source_look import SourceLook
from fmanet_cli.engine.tiling import Tiling
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.pipeline import BackgroundConsumer, Prefetched
from fmanet_cli.restore.stages import QUEUE_FRAMES, restored_frames
from fmanet_cli.video.frames import Frame, PlanarFrame
from fmanet_cli.video.read.spans import SpanReader
from fmanet_cli.video.write.plan import OutputPlan
from fmanet_cli.video.write.segments import SegmentWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmTask:
    """What all spans of one film share. It can be sent to other processes."""

    source: str
    """Path of the input."""
    source_size: tuple[int, int]
    """(height, width) of its frames in pixels."""
    reading: dict[str, Any]
    """Options of `VideoReader`."""
    folder: Path
    """Where segments go."""
    plan: OutputPlan
    """How they are made."""
    tiling: Tiling
    """How frames are computed."""
    strength: float = 1.0
    """Share of the network's result in each frame."""
    source_look: SourceLook = "plain"
    """`camera` = the network sees the frames softened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanTask:
    """Frames `first` to `first + count - 1` of a film, with the neighbours that their windows need."""

    film: FilmTask
    first: int
    """Number of the first frame that is restored."""
    count: int
    """How many are restored."""
    pts: tuple[int, ...]
    """Presentation timestamps of the frames and of the neighbours on both sides."""
    durations: tuple[int, ...]
    """Of the same frames, in the same ticks."""
    cuts: frozenset[int]
    """Numbers of those of them that begin a shot."""
    lead: int
    """How many neighbours come before the first frame."""

    @property
    def name(self) -> str:
        """For people."""
        return f"frames {self.first} to {self.first + self.count - 1} of {Path(self.film.source).name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanResult:
    """What became of a span."""

    first: int
    """Number of its first frame."""
    frames: int
    """Frames in the closed segment: fewer than asked where the worker was told to stop."""
    precision: str
    """What the network computed in at the end."""
    tiling: Tiling
    """How frames were cut at the end."""
    warnings: tuple[str, ...]
    """What the user should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSetup:
    """The network of a worker and how it runs. It can be sent to other processes."""

    model: FMANet
    device: str
    precision: str
    tile: int | str
    tile_overlap: int
    threads: int
    """Of torch's; 0 = as many as it takes by itself."""

    def restorer(self) -> Restorer:
        """The network made ready here; sets the threads of this process."""
        if self.threads:
            torch.set_num_threads(self.threads)
        return Restorer(
            self.model,
            device=self.device,
            precision=self.precision,
            tile=self.tile,
            tile_overlap=self.tile_overlap,
        )


class SpanWorker:
    """Restores spans, one after the other, with one network and one opened film."""

    def __init__(self, restorer: Restorer) -> None:
        self._restorer = restorer
        self._reader: SpanReader | None = None
        self._film: FilmTask | None = None

    def run(
        self,
        task: SpanTask,
        *,
        frame_done: Callable[[], None] = lambda: None,
        stops: Callable[[], bool] = lambda: False,
    ) -> SpanResult:
        """Restore a span and close its segment.

        Args:
            task: the span.
            frame_done: called after each frame.
            stops: asked after each frame; True closes the segment with the frames that it has.

        Raises:
            FmanetError: the input cannot be read, the segment not written, or memory does not suffice.
        """
        film = task.film
        reader = self._opened(film)
        run = self._restorer.start(
            *film.source_size, tiling=film.tiling, strength=film.strength, source_look=film.source_look
        )
        plan, size = film.plan, (film.plan.height, film.plan.width)

        def skips(number: int) -> bool:
            return not task.lead <= number < task.lead + task.count

        def encode(frame: Frame | PlanarFrame) -> None:
            writer.write(plan.as_encoded(frame), pts=frame.pts, duration=frame.duration, captioned=frame.captioned)

        assert plan.settings is not None
        writer = SegmentWriter(film.folder, plan.settings, first=task.first, room=task.count)
        try:
            with (
                Prefetched(self._frames(task, reader), QUEUE_FRAMES) as frames,
                contextlib.closing(restored_frames(run, frames, plan.plane_format, size, skips=skips)) as restored,
                BackgroundConsumer(encode, depth=QUEUE_FRAMES) as encoder,
                device_errors(self._restorer.device),
            ):
                for frame in restored:
                    encoder.put(frame)
                    frame_done()
                    if stops():
                        break
            reader.check_unchanged()
            segment = writer.close()
        except BaseException:
            writer.discard()
            raise
        return SpanResult(
            first=segment.first,
            frames=segment.frame_count,
            precision=run.precision,
            tiling=run.tiling,
            warnings=run.warnings,
        )

    def close(self) -> None:
        """Close the film."""
        if self._reader is not None:
            self._reader.close()

    def _opened(self, film: FilmTask) -> SpanReader:
        if self._reader is None or self._film is None or self._film.source != film.source:
            self.close()
            self._reader = SpanReader(film.source, options=film.reading)
        self._film = film
        return self._reader

    @staticmethod
    def _frames(task: SpanTask, reader: SpanReader) -> Iterator[Frame]:
        start = task.first - task.lead
        for number, frame in enumerate(reader.read(task.pts, first=start), start):
            yield replace(frame, duration=task.durations[number - start], starts_shot=number in task.cuts)
