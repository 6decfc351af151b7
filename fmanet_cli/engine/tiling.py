"""Where tiles lie, and how their results are blended back into one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fmanet_cli.errors import OptionError

MIN_TILE = 32
"""Smallest tile side in low-resolution pixels; below it nearly everything is overlap."""


DEFAULT_OVERLAP = 16


@dataclass(frozen=True, slots=True)
class Tiling:
    """How frames are cut."""

    mode: Literal["auto", "whole", "tiles"]
    """What was requested: whole frames where memory allows, whole frames first, or tiles."""
    size: int = 0
    """Tile side in low-resolution pixels; 0 = whole frames."""
    overlap: int = DEFAULT_OVERLAP
    """What neighbouring tiles share, in low-resolution pixels."""

    @staticmethod
    def requested(tile: int | str, overlap: int = DEFAULT_OVERLAP) -> Tiling:
        """`tile`: `auto`, 0 for whole frames, or a tile side.

        Raises:
            OptionError: a value is out of range.
        """
        if overlap < 0:
            raise OptionError(f"tile overlap must be at least 0, got {overlap}")
        if tile == "auto":
            return Tiling("auto", 0, overlap)
        try:
            size = int(tile)
        except ValueError:
            raise OptionError(f"tile must be auto, 0 or a number of pixels, got {tile!r}") from None
        if size != 0 and size < MIN_TILE:
            raise OptionError(f"tile must be 0 (whole frame) or at least {MIN_TILE} pixels, got {size}")
        if size and overlap > size // 2:
            raise OptionError(f"tile overlap must be at most half the tile ({size // 2}), got {overlap}")
        return Tiling("tiles" if size else "whole", size, overlap)

    def __str__(self) -> str:
        return f"tiles of {self.size} pixels, {self.overlap} shared" if self.size else "whole frames"


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle of the low-resolution frame."""

    top: int
    left: int
    height: int
    width: int


def plan_spans(length: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Cover `length` with spans of one equal size, neighbours sharing at least `overlap`.

    Returns:
        (start, size) of each span; all sizes are equal and at most `size`.

    Raises:
        OptionError: `overlap` is negative or not smaller than `size`.
    """
    if not 0 <= overlap < size:
        raise OptionError(f"tile overlap must be at least 0 and below the tile size {size}, got {overlap}")
    if length <= size:
        return [(0, length)]
    count = -(-(length - overlap) // (size - overlap))
    even = -(-(length + overlap * (count - 1)) // count)
    return [(round(index * (length - even) / (count - 1)), even) for index in range(count)]


def plan_tiles(height: int, width: int, *, tile: int, overlap: int) -> list[Tile]:
    """Equal tiles that cover a frame; `tile` and `overlap` in low-resolution pixels, `tile` 0 for the whole."""
    if tile == 0:
        return [Tile(0, 0, height, width)]
    return [
        Tile(top, left, rows, columns)
        for top, rows in plan_spans(height, tile, min(overlap, tile - 1))
        for left, columns in plan_spans(width, tile, min(overlap, tile - 1))
    ]


class TileBlender:
    """Adds tile results with weights that fade linearly over the overlaps, so that no seam shows."""

    def __init__(self, height: int, width: int, *, scale: int, overlap: int) -> None:
        self._height, self._width, self._scale, self._overlap = height, width, scale, overlap
        self._sum: Tensor | None = None
        self._weight: Tensor | None = None

    def add(self, tile: Tile, result: Tensor) -> None:
        """`result`: (3, scale * tile.height, scale * tile.width)."""
        if self._sum is None or self._weight is None:
            shape = (self._height * self._scale, self._width * self._scale)
            self._sum = result.new_zeros((result.shape[0], *shape), dtype=torch.float32)
            self._weight = result.new_zeros(shape, dtype=torch.float32)
        rows = self._fade(tile.top, tile.height, self._height, result.device)
        columns = self._fade(tile.left, tile.width, self._width, result.device)
        weight = rows[:, None] * columns[None, :]
        area = (
            slice(tile.top * self._scale, (tile.top + tile.height) * self._scale),
            slice(tile.left * self._scale, (tile.left + tile.width) * self._scale),
        )
        self._sum[(slice(None), *area)] += result.float() * weight
        self._weight[area] += weight

    def result(self) -> Tensor:
        """(3, scale * height, scale * width) float32; every pixel must have been covered."""
        assert self._sum is not None
        assert self._weight is not None
        return self._sum / self._weight

    def _fade(self, start: int, size: int, length: int, device: torch.device) -> Tensor:
        """Weights along one side: 1 inside, falling towards sides that have a neighbour."""
        ramp = self._overlap * self._scale
        position = torch.arange(size * self._scale, device=device, dtype=torch.float32)
        weight = torch.ones_like(position)
        if ramp and start > 0:
            weight = torch.minimum(weight, (position + 1) / (ramp + 1))
        if ramp and start + size < length:
            weight = torch.minimum(weight, (position.flip(0) + 1) / (ramp + 1))
        return weight
