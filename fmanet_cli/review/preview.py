"""A few restored moments of a film on one sheet, before hours are spent on all of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from fmanet_cli.drawing import at_width, below, beside, framed, labelled, text_lines
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.source_look import SourceLook
from fmanet_cli.engine.strength import enlarged
from fmanet_cli.review.crops import marked, most_changed_area
from fmanet_cli.review.survey import Moment
from fmanet_cli.video.frames import DisplayMatrix, Frame
from fmanet_cli.video.write.orientation import upright

COLUMN = 480
"""Width of each image on the sheet in pixels."""

CROP_HEIGHT = 320
"""Of what is shown at 100 %."""


@dataclass(frozen=True, slots=True, eq=False)
class PreviewRow:
    """One moment, enlarged and restored."""

    moment: Moment
    """When, and why then."""
    before: np.ndarray
    """(4H, 4W, 3) in [0, 1]: the source, enlarged by bicubic interpolation and turned as players show it."""
    after: tuple[np.ndarray, ...]
    """The same as each network restores it from each look of the source, with the frame's true neighbours."""


def preview_rows(
    moments: Sequence[Moment],
    windows: Sequence[tuple[Frame, ...]],
    restorers: Sequence[Restorer],
    *,
    strength: float = 1.0,
    source_looks: Sequence[SourceLook] = ("plain",),
    matrix: DisplayMatrix | None = None,
    done: Callable[[], None] = lambda: None,
) -> Iterator[PreviewRow]:
    """Restore the middle frame of each window with each network; one moment is in memory at a time.

    Args:
        moments: when the windows are.
        windows: frames of one size and an odd number each, as many as the networks take (see `moments.window_at`).
        restorers: the networks, ready to run.
        strength: share of what the networks restore in a frame, in [0, 1].
        source_looks: how each network sees the frames, one result for each; `camera` = softened.
        matrix: how players turn the film; the rows are turned so, too.
        done: called after each restored frame.
    """
    length = len(windows[0])
    streams = []
    for restorer, look in itertools.product(restorers, source_looks):
        run = restorer.start(*windows[0][0].size, strength=strength, source_look=look)
        streams.append(run.restore(_in_a_row(windows), skips=lambda number: number % length != length // 2))
    for moment, window in zip(moments, windows, strict=True):
        source = torch.from_numpy(window[len(window) // 2].image).permute(2, 0, 1)
        plain = enlarged(source, restorers[0].scale).clamp(0, 1).permute(1, 2, 0).numpy()
        after = []
        for stream in streams:
            after.append(upright(next(stream).image, matrix))
            done()
        yield PreviewRow(moment, upright(plain, matrix), tuple(after))


def preview_sheet(rows: Iterator[PreviewRow], names: Sequence[str], title: str) -> np.ndarray:
    """(H, W, 3) in [0, 1]: a row for each moment, whole frames above, below them the largest change at 100 %."""
    boxes = [text_lines([title])]
    for row in rows:
        images = (row.before, *row.after)
        width = min(COLUMN, row.before.shape[1])
        area = most_changed_area(row.before, row.after, (CROP_HEIGHT, width))
        thickness = max(1, round(row.before.shape[1] / width))
        heads = [[moment_text(row.moment), "source, bicubic"], *(["", name] for name in names)]
        whole = [at_width(marked(image, area, thickness=thickness), width) for image in images]
        boxes.append(beside([labelled(image, *head) for image, head in zip(whole, heads, strict=True)]))
        boxes.append(beside([labelled(image[area], "at 100 %") for image in images]))
    return framed(below(boxes))


def moment_text(moment: Moment) -> str:
    """When a moment is and why it was chosen."""
    edges = "" if moment.blur is None else f", edges {moment.blur:.1f} px wide"
    return f"{moment.seconds:.2f} s: {moment.reason}{edges}"


def _in_a_row(windows: Sequence[tuple[Frame, ...]]) -> Iterator[Frame]:
    """Frames of all windows, each of which is a shot."""
    return (replace(frame, starts_shot=place == 0) for window in windows for place, frame in enumerate(window))
