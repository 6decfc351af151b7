"""The stages of a restoration, each timed by itself."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fmanet_cli.bench.matrix_peak import synchronize
from fmanet_cli.bench.multiply_adds import count_multiply_adds
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.runner import WindowRunner
from fmanet_cli.video.frames import Frame, PlanarFrame, VideoInfo
from fmanet_cli.video.pixels.colour import ImageOrPlanes, PlaneFormat
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.planning import plan_output
from fmanet_cli.video.write.writer import VideoWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSeconds:
    """Seconds of one steady-state step of the network: a new frame in, a restored frame out."""

    upload: float
    """From an image in memory to a tensor on the device."""
    frame_features: float
    """What the network computes once for each frame."""
    window: float
    """What it computes for each window."""
    download: float
    """From the restored tensor to what the encoder takes, colour conversion included."""

    @property
    def model(self) -> float:
        """The network alone."""
        return self.frame_features + self.window


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSeconds(StepSeconds):
    """Seconds per frame of each stage, none overlapping another."""

    decode: float
    """Reading the file, colour conversion included."""
    encode: float
    """Writing the file."""


class ModelSteps:
    """Steps a network through a few images over and over, whole frames only.

    Nothing is mended here: where memory does not suffice, torch's exception comes through.
    """

    def __init__(
        self, restorer: Restorer, images: Sequence[np.ndarray], *, plane_format: PlaneFormat | None = None
    ) -> None:
        """`images`: (H, W, 3) float32 RGB in [0, 1], all of one size; `plane_format`: what they become, else RGB."""
        self._restorer, self._plane_format = restorer, plane_format
        self._images = itertools.cycle(images)
        self._device: torch.device = restorer.device
        self._states: deque[Any] = deque()
        for _ in range(restorer.model.config.num_frames):
            self._states.append(restorer.runner.frame_state(restorer.upload(next(self._images))))
        self.restored: Tensor | None = None
        """(3, 4H, 4W) of the last step, on the device, not clamped."""
        self.image: ImageOrPlanes | None = None
        """Of the last step: planes, or (4H, 4W, 3) RGB."""

    def step(self) -> StepSeconds:
        """One new frame, one window."""
        return self._step(self._restorer.runner)

    def _step(self, runner: WindowRunner) -> StepSeconds:
        self.restored = self.image = None
        self._states.popleft()
        image = next(self._images)
        marks = [self._now()]
        frame = self._restorer.upload(image)
        marks.append(self._now())
        self._states.append(runner.frame_state(frame))
        marks.append(self._now())
        self.restored = runner.window(list(self._states))
        marks.append(self._now())
        if self._plane_format is None:
            self.image = self._restorer.download(self.restored)
        else:
            self.image = self._restorer.download_planes(self.restored, self._plane_format)
        marks.append(self._now())
        upload, frame_features, window, download = (after - before for before, after in itertools.pairwise(marks))
        return StepSeconds(upload=upload, frame_features=frame_features, window=window, download=download)

    def count(self) -> float | None:
        """Multiply-adds per input pixel of a step; None where the device runs what cannot be counted."""
        # What a graph replays cannot be counted.
        counted = count_multiply_adds(lambda: self._step(self._restorer.eager_runner))
        assert self.restored is not None
        pixels = self.restored[0].numel() / self._restorer.scale**2
        return counted / pixels if counted else None

    def _now(self) -> float:
        synchronize(self._device)
        return time.perf_counter()


def median_stages(steps: Sequence[StepSeconds], *, decode: float, encode: float) -> StageSeconds:
    """The median of each stage over the steps, and the two that are means over a whole file."""
    names = ("upload", "frame_features", "window", "download")
    medians = {name: median(getattr(step, name) for step in steps) for name in names}
    return StageSeconds(decode=decode, encode=encode, **medians)


def timed_decode(path: Path, *, keep: int) -> tuple[float, list[Frame]]:
    """Seconds per frame of reading a video, and its first `keep` frames."""
    began = time.perf_counter()
    kept: list[Frame] = []
    count = 0
    with VideoReader(path) as reader:
        for frame in reader:
            count += 1
            if len(kept) < keep:
                kept.append(frame)
    return (time.perf_counter() - began) / count, kept


def encoder_planes(path: Path, *, like: VideoInfo, scale: int) -> PlaneFormat | None:
    """What the encoder of a restored video takes; None = RGB."""
    return plan_output(path, like=like, scale=scale).plane_format


def timed_stream(restorer: Restorer, frames: Sequence[Frame], plane_format: PlaneFormat | None, *, count: int) -> float:
    """Seconds per frame of restoring `count` frames in memory, given in turn: a run without its files."""

    def run(length: int) -> None:
        stream = itertools.islice(itertools.cycle(frames), length)
        restored = restorer.restore(stream) if plane_format is None else restorer.restore_planar(stream, plane_format)
        for _ in restored:
            pass

    several = restorer.start(*frames[0].size).pass_size
    if several > 1:
        # Kernels are chosen and compiled for each number of windows in a pass, and the steps had one.
        run(several + count % several)
    began = time.perf_counter()
    run(count)
    return (time.perf_counter() - began) / count


def timed_encode(path: Path, images: Sequence[ImageOrPlanes], *, like: VideoInfo, scale: int, count: int) -> float:
    """Seconds per frame of writing `count` restored frames, whose images are given in turn."""
    began = time.perf_counter()
    with VideoWriter(path, like=like, scale=scale, overwrite=True) as writer:
        for frame in _as_frames(itertools.islice(itertools.cycle(images), count), like):
            writer.write(frame)
    return (time.perf_counter() - began) / count


def _as_frames(images: Iterable[ImageOrPlanes], like: VideoInfo) -> Iterator[Frame | PlanarFrame]:
    duration = round(1 / like.frame_rate / like.time_base)
    for index, image in enumerate(images):
        if isinstance(image, np.ndarray):
            yield Frame(image, index * duration, like.time_base, duration)
        else:
            yield PlanarFrame(image, index * duration, like.time_base, duration)


def difference(ours: Tensor, reference: Tensor) -> tuple[float, float]:
    """Largest absolute difference of two restored frames, and the mean square of what is left of it in [0, 1]."""
    largest = float((ours - reference).abs().max())
    return largest, float((ours.clamp(0, 1) - reference.clamp(0, 1)).square().mean())
