"""Training windows from sharp clips: neighbouring frames, interpolated along their motion, are averaged into blur."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from fmanet_cli.dataset.exposure import average_in_linear_light, blur_clip
from fmanet_cli.dataset.imaging.chain import image_clip
from fmanet_cli.dataset.imaging.mixture import Mixture
from fmanet_cli.errors import TrainingError, VideoReadError
from fmanet_cli.files import VIDEO_SUFFIXES
from fmanet_cli.training.windows import (
    SCALE,
    WindowBatch,
    WindowOptions,
    batch_generator,
    coding_order,
    detail,
    join_batches,
    to_window,
)

SPAN_FRAMES = 16
"""Neighbouring frames that are kept together."""

_FLAT_DETAIL = 0.015
_TRIES = 8
_MARGIN_PIXELS = 8
_CONSISTENT_PIXELS = 1.0


@dataclass(frozen=True, slots=True)
class VideoOptions(WindowOptions):
    """How windows are made from clips."""

    strides: tuple[int, ...] = (1, 2, 3)
    """Source frames between two frames of a window; one is drawn for each window."""
    exposure: tuple[float, float] = (0.3, 1.0)
    """Range of the exposure as a share of the time between two frames of a window."""
    mixture: Mixture = field(default_factory=Mixture)
    """What the camera does after the blur; highlights and light curves are those of the clip."""
    interpolate: bool = True
    """Average frames interpolated along the motion too; otherwise the source frames alone."""

    def __post_init__(self) -> None:
        WindowOptions.__post_init__(self)
        if not 0.0 <= self.exposure[0] <= self.exposure[1] <= 1.0:
            raise ValueError(f"exposure must be a range inside 0 to 1, got {self.exposure}")
        longest = (self.frames + 1) * max(self.strides) + 2
        if longest > SPAN_FRAMES:
            raise ValueError(f"a window may need {longest} source frames, more than {SPAN_FRAMES}; use smaller strides")

    @property
    def cut_pixels(self) -> int:
        """Side of what is cut from a clip: the window and what codec and filters see around it."""
        return self.sharp_pixels + 2 * _MARGIN_PIXELS * SCALE


class VideoWindows:
    """Windows from spans of sharp frames (a `WindowSource`). Optical flow is estimated on the sharp frames."""

    def __init__(self, spans: Sequence[np.ndarray], options: VideoOptions, *, seed: int) -> None:
        """Take spans of (N, H, W, 3) uint8 RGB frames."""
        self.spans = spans
        self.options = options
        self.seed = seed

    def batch(self, index: int) -> WindowBatch:
        """Batch `index`, on the CPU."""
        generator = batch_generator(self.seed, index)
        windows = [self._window(generator) for _ in range(self.options.batch_windows)]
        return join_batches(windows)

    def _window(self, generator: torch.Generator) -> WindowBatch:
        options = self.options
        for attempt in range(_TRIES):
            draws = torch.rand(6, generator=generator).tolist()
            span = self.spans[int(draws[0] * len(self.spans))]
            stride = options.strides[int(draws[1] * len(options.strides))]
            exposure = options.exposure[0] + (options.exposure[1] - options.exposure[0]) * draws[2]
            frames = self._cut(span, stride, exposure, draws[3:])
            sharpness = detail(torch.from_numpy(frames[0]).permute(2, 0, 1) / 255.0)
            if float(sharpness.mean()) > _FLAT_DETAIL or attempt == _TRIES - 1:
                break
        pairs = list(self._expose(frames, stride, exposure))[: options.frames]
        blurred = [image.astype(np.float32) / np.float32(255) for image, _ in pairs]
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        order, first = coding_order(options.frames, rng, spare=0)
        levels = options.mixture.draw_class(rng).draw_levels(rng)
        imaged = image_clip([blurred[number] for number in order], levels, rng)
        small, large = (slice(_MARGIN_PIXELS * scale, -_MARGIN_PIXELS * scale) for scale in (1, SCALE))
        kept = slice(first, first + options.frames)
        sharp = [image[large, large] for _, image in pairs]
        flow, valid = _estimate_flow(sharp)
        return WindowBatch(
            blurry=to_window(imaged.frames[kept, small, small].astype(np.float32) / 255),
            sharp=to_window(np.stack(sharp).astype(np.float32) / 255),
            flow=flow[None],
            flow_valid=valid[None],
            blurry_clean=to_window(imaged.clean[kept, small, small]),
        )

    def _cut(self, span: np.ndarray, stride: int, exposure: float, draws: Sequence[float]) -> np.ndarray:
        reach = int(np.ceil(stride * exposure / 2))
        needed = (self.options.frames - 1) * stride + 2 * reach + 1
        size = self.options.cut_pixels
        first, top, left = (
            int(draw * (free + 1))
            for draw, free in zip(draws, (len(span) - needed, span.shape[1] - size, span.shape[2] - size), strict=True)
        )
        return span[first : first + needed, top : top + size, left : left + size]

    def _expose(self, frames: np.ndarray, stride: int, exposure: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if self.options.interpolate:
            yield from blur_clip(frames, stride=stride, exposure=exposure)
            return
        reach = int(np.ceil(stride * exposure / 2))
        during = int(stride * exposure / 2)
        for middle in range(reach, len(frames) - reach, stride):
            yield average_in_linear_light(frames[middle - during : middle + during + 1]), frames[middle]


def load_spans(folder: str | Path, *, smallest_side: int, spans_per_clip: int = 4, seed: int = 0) -> list[np.ndarray]:
    """Read the clips of a folder and keep some spans of 16 frames of each: (16, H, W, 3) uint8 RGB.

    Raises `TrainingError` when the folder has no clips, when one cannot be read, and when all are too short or small.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise TrainingError(f"{folder} is not a folder; give a folder of videos")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
    if not paths:
        raise TrainingError(f"no videos in {folder}; it needs files ending in {', '.join(sorted(VIDEO_SUFFIXES))}")
    with ThreadPoolExecutor(max_workers=2) as pool:
        clips = list(pool.map(lambda path: _read_spans(path, smallest_side, spans_per_clip, seed), paths))
    spans = [span for clip in clips for span in clip]
    if not spans:
        raise TrainingError(
            f"all {len(paths)} videos in {folder} are shorter than {SPAN_FRAMES} frames or smaller than "
            f"{smallest_side} pixels; use longer and larger ones"
        )
    return spans


def _read_spans(path: Path, smallest_side: int, count: int, seed: int) -> list[np.ndarray]:
    """Reservoir sampling over the spans of a clip, so that a long clip needs no more memory than a short one."""
    # Here, because training from photographs works where PyAV is missing.
    from fmanet_cli.video.read.reader import VideoReader

    choose = random.Random(f"{seed} {path.name}")
    kept: list[np.ndarray] = []
    seen = 0
    frames: list[np.ndarray] = []
    try:
        with VideoReader(path) as reader:
            for frame in reader:
                if min(frame.image.shape[:2]) < smallest_side:
                    return []
                frames.append(np.round(frame.image * 255.0).astype(np.uint8))
                if len(frames) < SPAN_FRAMES:
                    continue
                place = len(kept) if len(kept) < count else choose.randrange(seen + 1)
                if place < count:
                    kept[place : place + 1] = [np.stack(frames)]
                seen += 1
                frames = []
    except VideoReadError as error:
        raise TrainingError(f"cannot read the video {path}: {error}; remove or replace it") from error
    return kept


def _estimate_flow(sharp: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """(2, T, H, W) flow in low-resolution pixels and (1, T, H, W) where flow there and back agree."""
    estimator = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_MEDIUM)
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in sharp]
    middle = len(grey) // 2
    height, width = grey[0].shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    flows, valid = [], []
    for number, image in enumerate(grey):
        if number == middle:
            flow, agrees = np.zeros((height, width, 2), np.float32), np.ones((height, width), np.float32)
        else:
            flow = estimator.calc(grey[middle], image, None)  # type: ignore[call-overload]
            back = estimator.calc(image, grey[middle], None)  # type: ignore[call-overload]
            returned = cv2.remap(
                back,
                columns + flow[..., 0],
                rows + flow[..., 1],
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=(1e6, 1e6),
            )
            agrees = (np.linalg.norm(flow + returned, axis=-1) < _CONSISTENT_PIXELS).astype(np.float32)
        small = (width // SCALE, height // SCALE)
        flows.append(cv2.resize(flow, small, interpolation=cv2.INTER_AREA) / SCALE)
        valid.append((cv2.resize(agrees, small, interpolation=cv2.INTER_AREA) > 0.5).astype(np.float32))
    return torch.from_numpy(np.stack(flows)).permute(3, 0, 1, 2), torch.from_numpy(np.stack(valid))[None]
