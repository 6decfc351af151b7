"""A made-up clip for measuring: texture that moves, the same at every run."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from fmanet_cli.video.frames import Frame, VideoInfo
from fmanet_cli.video.pixels.colour import Colour, guessed_matrix
from fmanet_cli.video.write.writer import VideoWriter

_TIME_BASE = Fraction(1, 25)
_MOTION = (1, 2)
"""Rows and columns from frame to frame."""
_TEXTURE = 0.15
"""Standard deviation of the noise before smoothing, of a full range of 1."""


def synthetic_frames(height: int, width: int, *, count: int) -> Iterator[Frame]:
    """`count` frames at 25 a second: smoothed noise over waves, moving across the frame.

    Raises:
        ValueError: a frame has no pixels or there is no frame.
    """
    if min(height, width, count) < 1:
        raise ValueError(f"a clip needs at least one frame of 1x1, got {count} of {width}x{height}")
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    waves = [0.5 + 0.25 * np.sin(rows / (9 + index) + columns / (15 - 2 * index)) for index in range(3)]
    noise = np.random.default_rng(0).normal(0, _TEXTURE, (height, width)).astype(np.float32)
    smooth = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1)) / 2
    image = np.clip(np.stack(waves, axis=2) + smooth[..., None], 0, 1).astype(np.float32)
    for index in range(count):
        yield Frame(np.roll(image, [index * step for step in _MOTION], (0, 1)), index, _TIME_BASE, 1)


def write_synthetic_clip(path: Path, *, height: int, width: int, count: int) -> VideoInfo:
    """Encode `synthetic_frames` into a new file; return the facts of a video, for writing like it."""
    info = VideoInfo(
        path="",
        height=height,
        width=width,
        time_base=_TIME_BASE,
        frame_rate=1 / _TIME_BASE,
        colour=Colour(guessed_matrix(height, width), full_range=False),
    )
    with VideoWriter(path, like=info, scale=1) as writer:
        for frame in synthetic_frames(height, width, count=count):
            writer.write(frame)
    return info
