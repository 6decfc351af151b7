"""A film of a source and its restored copy: beside each other, or one behind a line that moves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from fmanet_cli.errors import OptionError
from fmanet_cli.restore.resize import resize_image
from fmanet_cli.review.compare import FilmPair
from fmanet_cli.video.frames import Frame
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.codecs import EncoderOptions
from fmanet_cli.video.write.orientation import shown_size, upright
from fmanet_cli.video.write.writer import VideoWriter

LAYOUTS = ("side", "wipe")
"""Names of the arrangements."""

WIPE_SECONDS = 8.0
"""The line's way there and back."""

_WIPE_REACH = 0.45
"""Of the width, to either side of the middle."""


def write_comparison_film(films: FilmPair, target: str | Path, *, layout: str = "side", overwrite: bool = False) -> int:
    """Write a film with the source on the left and the output on the right, with the timestamps of the output.

    Args:
        films: what is compared; where there is a truth, it comes third.
        target: the file, whose suffix says the container.
        layout: `side` = whole frames beside each other; `wipe` = one frame, in which a line that moves parts the
            two.
        overwrite: replace an existing file.

    Returns:
        The number of frames.

    Raises:
        OptionError: there is no such layout, or a wipe of three.
        OutputExistsError: the target exists.
        VideoWriteError: it cannot be written.
    """
    if layout not in LAYOUTS:
        raise OptionError(f"the layout must be {' or '.join(LAYOUTS)}, got {layout!r}")
    if layout == "wipe" and films.truth is not None:
        raise OptionError("a wipe shows two films; leave out the truth, or take the layout side")
    columns = 1 if layout == "wipe" else 2 + (films.truth is not None)
    height, width = shown_size(films.output)
    like = replace(films.output, display_matrix=None, height=height, width=width * columns)
    size = (like.height, like.width)
    with VideoWriter(target, like=like, size=size, encoder=EncoderOptions(), overwrite=overwrite) as writer:
        for seconds, frames in zip(films.seconds, _pairs(films), strict=True):
            first, second = (frame.image for frame in frames[:2])
            image = (
                wiped(first, second, seconds)
                if layout == "wipe"
                else np.concatenate([frame.image for frame in frames], axis=1)
            )
            writer.write(replace(frames[1], image=image))
        return writer.frames_written


def wiped(left: np.ndarray, right: np.ndarray, seconds: float) -> np.ndarray:
    """Two (H, W, 3) images in [0, 1] on the two sides of a white line, which swings about the middle over time."""
    width = left.shape[1]
    place = round(width * (0.5 + _WIPE_REACH * math.sin(2 * math.pi * seconds / WIPE_SECONDS)))
    image = np.concatenate((left[:, :place], right[:, place:]), axis=1)
    thickness = max(1, width // 600)
    image[:, max(0, place - 2 * thickness) : place + 2 * thickness] = 0
    image[:, max(0, place - thickness) : place + thickness] = 1
    return image


def _pairs(films: FilmPair) -> Iterator[tuple[Frame, ...]]:
    """Frames of the enlarged source, of the output and of the truth where there is one."""
    with ExitStack() as stack:
        infos = [info for info in (films.source, films.output, films.truth) if info is not None]
        readers = [stack.enter_context(VideoReader(info.path)) for info in infos]
        for small, large, *truth in zip(*readers, strict=True):
            before, *others = [
                replace(frame, image=upright(frame.image, info.display_matrix))
                for frame, info in zip((small, large, *truth), infos, strict=True)
            ]
            yield replace(before, image=resize_image(before.image, *others[0].size)), *others
