"""Small copies of frames, and how much of one its neighbour does not explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CELLS = 64
"""Cells along the longer side of a thumbnail, about; they are squares of whole pixels."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_BLOCK_HEIGHT, _BLOCK_WIDTH = 6, 8
_REACH_DOWN, _REACH_ACROSS = 3, 6
_COUNTED_SHARE = 0.75


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnail:
    """A frame in a few thousand cells."""

    cells: np.ndarray
    """(rows, columns, 3) uint8: luma, Cb, Cr; area averages."""
    contrast: float
    """Mean distance from the mean colour, in code values added up over the three channels."""


def thumbnail(image: np.ndarray) -> Thumbnail:
    """The small copy of an (H, W, 3) float32 RGB image in [0, 1]; less than one cell is cut off right and below."""
    height, width = image.shape[:2]
    side = max(1, min(round(max(height, width) / CELLS), height, width))
    rows, columns = height // side, width // side
    # Rows first: adding whole rows is as fast as memory, and leaves little for the columns.
    bands = image[: rows * side].reshape(rows, side, width * 3).sum(axis=1).reshape(rows, width, 3)
    means = bands[:, : columns * side].reshape(rows, columns, side, 3).sum(axis=2) / side**2
    luma = means @ _LUMA
    channels = np.stack([luma, (means[..., 2] - luma) * 0.564 + 0.5, (means[..., 0] - luma) * 0.713 + 0.5], axis=-1)
    cells = np.clip(channels * 255 + 0.5, 0, 255)
    contrast = np.abs(cells - cells.mean(axis=(0, 1))).mean(axis=(0, 1)).sum()
    return Thumbnail(cells.astype(np.uint8), float(contrast))


def plain_difference(newer: Thumbnail, older: Thumbnail) -> float:
    """Mean difference in code values added up over the channels: what no motion explains."""
    return float(np.abs(newer.cells.astype(np.int16) - older.cells).mean()) * 3


def unexplained_difference(newer: Thumbnail, older: Thumbnail) -> float:
    """What is left of the plain difference when blocks of the older frame may move.

    Each block is compared at every shift up to a tenth of the width and a twelfth of the height, and the best counts;
    so a pan costs little. The quarter of the blocks that fits worst is left out: captions, objects that pass close by.
    """
    rows, columns, _ = newer.cells.shape
    padded = np.pad(older.cells, ((_REACH_DOWN, _REACH_DOWN), (_REACH_ACROSS, _REACH_ACROSS), (0, 0)), mode="edge")
    shifted = np.lib.stride_tricks.sliding_window_view(padded, (rows, columns, 3))[:, :, 0]
    distance = np.maximum(shifted, newer.cells)
    distance -= np.minimum(shifted, newer.cells)
    row_blocks = _blocks(rows, _BLOCK_HEIGHT)
    column_blocks = np.repeat(_blocks(columns, _BLOCK_WIDTH), 3, axis=0)
    # Matrix products add up the cells of each block; (shifts, block rows, block columns) in the end.
    summed = row_blocks.T @ (distance.reshape(-1, rows, columns * 3).astype(np.float32) @ column_blocks)
    sizes = np.outer(row_blocks.sum(axis=0), column_blocks.sum(axis=0) / 3)
    best = np.sort((summed.min(axis=0) / sizes).ravel())
    return float(best[: max(1, round(len(best) * _COUNTED_SHARE))].mean())


def _blocks(length: int, block: int) -> np.ndarray:
    """(length, blocks) float32: 1 where a cell lies in a block, the blocks as equal as they can be."""
    count = max(1, round(length / block))
    return (np.arange(length)[:, None] * count // length == np.arange(count)).astype(np.float32)
