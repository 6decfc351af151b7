"""Some images of a video by their numbers, read in one pass; the others are decoded but not converted."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from fmanet_cli.video.frames import VideoInfo
from fmanet_cli.video.read.timeline import again


def sampled_images(
    info: VideoInfo, numbers: Collection[int], *, colour: str = "auto"
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield number and (H, W, 3) float32 RGB image of the frames that a reader of `info` gives, in order.

    Numbers beyond the end are left out; damage is passed over.

    Raises:
        VideoReadError: nothing can be decoded.
    """
    wanted, last = frozenset(numbers), max(numbers, default=-1)
    with again(info, colour=colour) as reader:
        reader.wanted = wanted
        for number, frame in enumerate(reader):
            if number in wanted:
                yield number, frame.image
            if number >= last:
                break
