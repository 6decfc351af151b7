"""Stand-ins that the evaluation tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fmanet_cli.evaluation.metrics import quantize
from fmanet_cli.evaluation.resampling import enlarge
from fmanet_cli.video.frame import Frame
from fmanet_cli.video.images import write_image


class BrightRestorer:
    """Bicubic enlargement, 2 code values brighter, that looks one frame ahead as the network does."""

    def __init__(self) -> None:
        self.taken = 0

    def restore(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        waiting: list[Frame] = []
        for frame in frames:
            self.taken += 1
            waiting.append(frame)
            if len(waiting) == 2:
                yield self._enlarged(waiting.pop(0))
        yield from map(self._enlarged, waiting)

    def _enlarged(self, frame: Frame) -> Frame:
        return replace(frame, image=(enlarge(quantize(frame.image)).astype(np.float32) + 2) / 255)


@pytest.fixture
def restorer() -> BrightRestorer:
    return BrightRestorer()


@pytest.fixture(scope="session")
def scene() -> np.ndarray:
    """(200, 280, 3) uint8: a texture whose values stay away from black and white."""
    noise = np.random.default_rng(8).integers(0, 256, (200, 280, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2)
    return cv2.normalize(soft, None, 30, 220, cv2.NORM_MINMAX).astype(np.uint8)


@pytest.fixture
def write_frames(tmp_path: Path) -> Callable[..., Path]:
    """Write images as numbered PNGs into a folder below the test's own."""

    def write(folder: str, images: Iterable[np.ndarray]) -> Path:
        (tmp_path / folder).mkdir(parents=True)
        for index, image in enumerate(images):
            write_image(tmp_path / folder / f"{index:04d}.png", image.astype(np.float32) / 255)
        return tmp_path / folder

    return write
