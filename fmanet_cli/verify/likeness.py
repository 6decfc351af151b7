"""Whether the frames of an output, scaled back, show what the frames of its source show.

The bounds stand between two measured groups (six photographs filmed by a moving camera, blur of 0 to 12 source pixels):
perfect restorations (the sharp truth itself, beside sources with and without noise) and those of `lite`, and frames
that were made green or black, tiled, pixelated, moved by 2 to 8 pixels, or taken from the next frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from fmanet_cli.verify.result import Verdict, VerificationRow
from fmanet_cli.video.read.sampled import sampled_images
from fmanet_cli.video.write.orientation import oriented
from fmanet_cli.video.write.plan import OutputPlan

SAMPLES = 12
"""Most places of the film, beside its end, that are looked at, each with the frames before and after."""

PSNR_FLOOR = 20.0
"""Least PSNR in dB of the coarse images. Measured: perfect restorations 21.8 and more, those of `lite` 32.0."""

COARSE_SIGMA = 2.0
"""Of the blur, in source pixels, under which restored and source are alike: restoring takes blur and noise away."""

MOVED_DB = 1.0
"""By how much a moved frame has to fit better to count. Measured: good ones at most 0.5, moved ones 1.6 and more."""

OTHER_FRAME_DB = 4.0
"""The same for another frame. Measured: good frames at most 0.4, swapped ones 8.4 and more."""

ALIKE_DB = 38.0
"""From here on coarse images are alike, and in flat ones chance decides what fits still better."""

SHIFT_REACH = 4
"""Source pixels to each side at which a better fit is looked for."""

LEAST_SIDE = 48
"""Of images in which moves and detail can be told from what happens at the edges."""

DETAIL_FLOOR = 0.8
"""Least share of the source's structure that is kept. Measured: good frames 0.98 and more, pixelated ones to 0.67."""

LEAST_DETAIL = 0.03
"""Structure of the source, as a standard deviation, below which it may all be noise and is not asked for."""

_BLURRED = 2 * COARSE_SIGMA
_FINE_SIGMA, _WIDE_SIGMA = 1.5, 6.0
_BEST_PSNR = 99.0


@dataclass(frozen=True, slots=True)
class Likeness:
    """How one frame of an output stands to the source."""

    number: int
    """Of the frame, from 0."""
    psnr: float
    """Of the coarse images in dB, at most 99."""
    detail: float
    """Share of the source's structure that is kept, 1 where it has too little to tell."""
    fits_better: str
    """What fits clearly better than the frame itself, such as `frame 12`; empty if nothing does."""

    @property
    def fault(self) -> str:
        """What is wrong; empty if nothing is."""
        if self.psnr < PSNR_FLOOR:
            return f"frame {self.number} at {self.psnr:.1f} dB"
        if self.fits_better:
            return f"frame {self.number} shows {self.fits_better}"
        return f"frame {self.number} without {1 - self.detail:.0%} of the detail" if self.detail < DETAIL_FLOOR else ""


class Originals:
    """Images of a source at some places of the film, each with those before and after, to hold an output against.

    They are kept as its frames pass, however many there will be: every frame is a place while there are at most
    `SAMPLES`, then every second, every fourth and so on, and at the end the last frame too. With 30 frames those are 0,
    4, 8 up to 28, and 29. An image takes three bytes for a pixel, so all of them stay far below what the network needs.
    """

    def __init__(self, plan: OutputPlan) -> None:
        self._plan = plan
        source = plan.like
        self._height, self._width = min((source.height, source.width), (plan.height, plan.width))
        self._images: dict[int, np.ndarray] = {}
        self._latest: deque[tuple[int, np.ndarray]] = deque(maxlen=2)
        self._step = 1
        self.count = 0
        """Frames that have passed."""

    def note(self, image: np.ndarray) -> None:
        """Look at the (H, W, 3) float32 RGB image of the next frame; all of the source have to come, in order."""
        number = self.count
        self.count += 1
        if self.count > SAMPLES * self._step:
            self._step *= 2
            self._images = {kept: self._images[kept] for kept in self._images if self._is_near(kept)}
        if self._is_near(number):
            self.keep(number, image)
        self._latest.append((number, image))

    def keep(self, number: int, image: np.ndarray) -> None:
        """Keep the (H, W, 3) float32 RGB image of a frame."""
        image = cv2.resize(image, (self._width, self._height), interpolation=cv2.INTER_AREA)
        if self._plan.baked_matrix is not None:
            image = np.ascontiguousarray(oriented(image, self._plan.baked_matrix))
        self._images[number] = np.rint(image * 255).astype(np.uint8)

    def read_again(self, count: int, *, colour: str) -> None:
        """Keep images of a source that has `count` frames, read as `colour` says."""
        self.count, self._step = count, _step_of(count)
        for number, image in sampled_images(self._plan.like, self._around(self.places()), colour=colour):
            self.keep(number, image)

    def places(self) -> list[int]:
        """Numbers of the frames of an output to look at."""
        for number, image in self._latest:
            if number not in self._images:
                self.keep(number, image)
        self._latest.clear()
        return sorted({*range(0, self.count, self._step), self.count - 1}) if self.count else []

    def near(self, number: int) -> dict[int, np.ndarray]:
        """The (h, w, 3) float32 RGB images of a frame and its neighbours, by number, as far as they are kept."""
        kept = [other for other in (number - 1, number, number + 1) if other in self._images]
        return {other: self._images[other].astype(np.float32) / 255 for other in kept}

    def _is_near(self, number: int) -> bool:
        return min(number % self._step, -number % self._step) <= 1

    def _around(self, places: Iterable[int]) -> set[int]:
        return {near for number in places for near in (number - 1, number, number + 1) if 0 <= near < self.count}


def _step_of(count: int) -> int:
    """The distance between places, a power of two, that gives at most `SAMPLES`."""
    step = 1
    while -(-count // step) > SAMPLES:
        step *= 2
    return step


class FrameComparison:
    """Looks at frames of an output as they are decoded."""

    def __init__(self, originals: Originals) -> None:
        self._originals = originals
        self.places = frozenset(originals.places())
        """Numbers of the frames that are wanted."""
        self._found: list[Likeness] = []

    def look(self, number: int, image: np.ndarray) -> None:
        """Hold the (H, W, 3) float32 RGB image of a frame against the source's."""
        near = self._originals.near(number)
        if number in near:
            size = near[number].shape[1::-1]
            self._found.append(likeness(number, cv2.resize(image, size, interpolation=cv2.INTER_AREA), near))

    def row(self) -> VerificationRow | None:
        """The worst PSNR or the first fault; None where nothing was looked at."""
        if not self._found:
            return None
        faults = [likeness.fault for likeness in self._found if likeness.fault]
        promised = f"alike in {len(self._found)} frames, {PSNR_FLOOR:g} dB or more when scaled back"
        if faults:
            more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
            return VerificationRow("pictures", promised, faults[0] + more, Verdict.DIFFERS)
        worst = min(likeness.psnr for likeness in self._found)
        return VerificationRow("pictures", promised, f"{worst:.1f} dB at least", Verdict.SAME)


def likeness(number: int, output: np.ndarray, originals: dict[int, np.ndarray]) -> Likeness:
    """Hold an image against the source's of its number, those of its neighbours, and moved ones; all of one size."""
    found, own = _coarse(output), _coarse(originals[number])
    same = psnr(found, own)
    # Of an image smaller than the blur one colour is left, which coding moves more than the film does.
    neighbours = {near: image for near, image in originals.items() if near != number and min(own.shape[:2]) > _BLURRED}
    others = {f"frame {near}": psnr(found, _coarse(image)) for near, image in neighbours.items()}
    # What is above 0 is more than chance.
    gains = {name: value - same - OTHER_FRAME_DB for name, value in others.items()}
    gains |= {name: gain - MOVED_DB for name, gain in _gains_by_moving(found, own)}
    name, gain = max(gains.items(), key=lambda item: item[1], default=("", 0.0))
    detail = _kept_detail(output, originals[number])
    return Likeness(number, same, detail, name if gain > 0 and same < ALIKE_DB else "")


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """In dB for values in [0, 1], at most 99."""
    error = float(np.square(first - second, dtype=np.float64).mean())
    return min(_BEST_PSNR, -10 * float(np.log10(max(error, 1e-12))))


def _coarse(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), COARSE_SIGMA)


def _kept_detail(output: np.ndarray, source: np.ndarray) -> float:
    """The part of the source's structure that is found in the output at the same place."""
    if min(source.shape[:2]) < LEAST_SIDE:
        return 1.0
    bands = []
    for image in (output, source):
        grey = image.mean(axis=2)
        bands.append(cv2.GaussianBlur(grey, (0, 0), _FINE_SIGMA) - cv2.GaussianBlur(grey, (0, 0), _WIDE_SIGMA))
    energy = float(np.square(bands[1], dtype=np.float64).mean())
    return float((bands[0] * bands[1]).mean()) / energy if energy >= LEAST_DETAIL**2 else 1.0


def _gains_by_moving(output: np.ndarray, source: np.ndarray) -> Iterator[tuple[str, float]]:
    height, width = source.shape[:2]
    if min(height, width) < LEAST_SIDE:
        return
    reach = SHIFT_REACH
    inner = (slice(reach, height - reach), slice(reach, width - reach))
    same = psnr(output[inner], source[inner])
    for y in range(-reach, reach + 1, 2):
        for x in range(-reach, reach + 1, 2):
            if x or y:
                moved = output[reach + y : height - reach + y, reach + x : width - reach + x]
                yield f"the frame moved by {x},{y} pixels", psnr(moved, source[inner]) - same
