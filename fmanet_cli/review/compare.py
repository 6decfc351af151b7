"""A film beside its restored copy: which frames to show, and what changed in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fmanet_cli.drawing import at_width, below, beside, framed, labelled, text_lines
from fmanet_cli.errors import OptionError
from fmanet_cli.restore.resize import resize_image
from fmanet_cli.review.crops import most_changed_area
from fmanet_cli.verify.likeness import psnr
from fmanet_cli.video.frames import VideoInfo
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.read.sampled import sampled_images
from fmanet_cli.video.read.timeline import decoded_timeline
from fmanet_cli.video.write.orientation import shown_size, upright

MEASURED = 48
"""Frames of the film, evenly spread, in which changes are measured."""
STILLS = 6
"""Of these, how many are shown: those that changed most."""
CLIP = 24
"""Frames in a row around the one that changed most."""

_CROP = 320


@dataclass(frozen=True, slots=True, eq=False)
class FramePair:
    """One moment of both films at the output's size."""

    number: int
    """Of the frame, from 0."""
    seconds: float
    """When it is shown, from the start of the output."""
    before: np.ndarray
    """(H, W, 3): the source, enlarged by bicubic interpolation."""
    after: np.ndarray
    """(H, W, 3): the output."""


@dataclass(frozen=True, slots=True)
class FrameChange:
    """What one frame gained."""

    number: int
    """From 0."""
    seconds: float
    """When it is shown, from the start of the output."""
    sharpness_before: float
    """Mean absolute Laplacian of the enlarged source in 8-bit steps."""
    sharpness_after: float
    """The same of the output."""
    difference: float
    """PSNR in dB between the two; small means much was changed."""
    truth_before: float | None = None
    """PSNR in dB of the enlarged source against the truth; None without one."""
    truth_after: float | None = None
    """The same of the output."""


class FilmPair:
    """A source and its output, opened and found to belong together."""

    def __init__(self, source: str | Path, output: str | Path, truth: str | Path | None = None) -> None:
        """Read what the files say of themselves and count the output's frames.

        Raises:
            VideoReadError: a file cannot be read.
            OptionError: the films have different numbers of frames, or the truth another size than the output.
        """
        self.source, self.output = _info(source), _info(output)
        self.truth = _info(truth) if truth is not None else None
        timeline = decoded_timeline(self.output)
        self.count = len(timeline.pts)
        self.seconds = [float((pts - timeline.pts[0]) * timeline.time_base) for pts in timeline.pts]
        for other in filter(None, (self.source, self.truth)):
            count = len(decoded_timeline(other).pts)
            if count != self.count:
                raise OptionError(f"{other.path} has {count} frames and {self.output.path} has {self.count}")
        if self.truth is not None and shown_size(self.truth) != shown_size(self.output):
            sizes = [f"{width}x{height}" for height, width in (shown_size(self.truth), shown_size(self.output))]
            raise OptionError(
                f"the truth is {sizes[0]} and the output {sizes[1]}; give a sharp film of the output's size"
            )

    def pairs(self, numbers: list[int]) -> Iterator[FramePair]:
        """Yield some frames of both films, in order."""
        before = _shown_images(self.source, numbers)
        after = _shown_images(self.output, numbers)
        for (number, small), (_, large) in zip(before, after, strict=True):
            yield FramePair(number, self.seconds[number], resize_image(small, *large.shape[:2]), large)

    def changes(self) -> list[FrameChange]:
        """Measure evenly spread frames."""
        numbers = sorted({round(place * (self.count - 1) / (MEASURED - 1)) for place in range(MEASURED)})
        truths = dict(_shown_images(self.truth, numbers)) if self.truth is not None else {}
        return [_change(pair, truths.get(pair.number)) for pair in self.pairs(numbers)]

    def clip_around(self, number: int) -> list[int]:
        """Numbers of frames in a row, as near to the middle of them as the film allows."""
        first = max(0, min(number - CLIP // 2, self.count - CLIP))
        return list(range(first, min(self.count, first + CLIP)))


def most_changed(changes: list[FrameChange]) -> list[int]:
    """Numbers of the frames that changed most, in order of the film."""
    return sorted(change.number for change in sorted(changes, key=lambda change: change.difference)[:STILLS])


def comparison_sheet(films: FilmPair, title: str) -> np.ndarray:
    """(H, W, 3) in [0, 1]: the frames that changed most, each with the place of the largest change at 100 %.

    Where there is a truth, its place stands beside them, and PSNR against it.
    """
    changes = {change.number: change for change in films.changes()}
    chosen = most_changed(list(changes.values()))
    truths = dict(_shown_images(films.truth, chosen)) if films.truth is not None else {}
    rows = []
    for pair in films.pairs(chosen):
        change, crop = changes[pair.number], most_changed_area(pair.before, [pair.after], (_CROP, _CROP))
        boxes = [
            labelled(at_width(pair.before, 480), f"{pair.seconds:.2f} s: source, bicubic{_psnr(change.truth_before)}"),
            labelled(at_width(pair.after, 480), f"restored{_psnr(change.truth_after)}"),
            labelled(pair.before[crop], "source at 100 %"),
            labelled(pair.after[crop], "restored at 100 %"),
        ]
        if pair.number in truths:
            boxes.append(labelled(truths[pair.number][crop], "truth at 100 %"))
        rows.append(beside(boxes))
    return framed(below([text_lines([title]), *rows]))


def _psnr(value: float | None) -> str:
    return "" if value is None else f", {value:.2f} dB"


def _info(path: str | Path) -> VideoInfo:
    with VideoReader(path, on_error="continue") as reader:
        return reader.info


def _shown_images(info: VideoInfo, numbers: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """As `sampled_images`, turned as players show them: the one film may be tagged and the other one turned."""
    return ((number, upright(image, info.display_matrix)) for number, image in sampled_images(info, numbers))


def _change(pair: FramePair, truth: np.ndarray | None) -> FrameChange:
    return FrameChange(
        number=pair.number,
        seconds=pair.seconds,
        sharpness_before=_sharpness(pair.before),
        sharpness_after=_sharpness(pair.after),
        difference=psnr(pair.before, pair.after),
        truth_before=None if truth is None else psnr(pair.before, truth),
        truth_after=None if truth is None else psnr(pair.after, truth),
    )


def _sharpness(image: np.ndarray) -> float:
    return 255 * float(np.abs(cv2.Laplacian(image.mean(axis=2), cv2.CV_32F)).mean())
