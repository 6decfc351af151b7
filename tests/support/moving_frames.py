"""Small smooth moving frames with uneven timestamps."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from fmanet_cli.video.frames import Frame


def make_frames(count: int, height: int = 24, width: int = 32, *, seed: int = 0) -> Iterator[Frame]:
    """`count` frames of `height` x `width`."""
    rng = np.random.default_rng(seed)
    phases = rng.uniform(0, 6, 3)
    rows, columns = np.mgrid[:height, :width]
    for index in range(count):
        waves = [0.5 + 0.4 * np.sin((columns + 2 * index) / 5 + rows / 7 + phase) for phase in phases]
        pts = 10 * index + index % 3
        yield Frame(np.stack(waves, axis=-1).astype(np.float32), pts=pts, time_base=Fraction(1, 240), duration=10)
