"""Tiles are equal, cover everything with the asked overlap, and blend without a trace."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from fmanet_cli.engine.tiling import TileBlender, plan_spans, plan_tiles
from fmanet_cli.errors import OptionError


@pytest.mark.parametrize("overlap", [0, 4, 15])
@pytest.mark.parametrize("size", [32, 33, 64])
@pytest.mark.parametrize("length", [1, 31, 32, 33, 63, 64, 100, 181])
def test_spans_are_equal_and_cover_everything(length: int, size: int, overlap: int) -> None:
    spans = plan_spans(length, size, overlap)
    assert {width for _, width in spans} == {spans[0][1]}
    assert spans[0][1] <= size
    assert spans[0][0] == 0
    assert spans[-1][0] + spans[-1][1] == length
    for (start, width), (following, _) in pairwise(spans):
        assert following > start
        assert start + width - following >= overlap


def test_overlap_as_large_as_the_tile_is_refused() -> None:
    with pytest.raises(OptionError, match="below the tile size 32, got 32"):
        plan_spans(100, 32, 32)


@pytest.mark.parametrize("overlap", [0, 3, 16])
def test_blending_tiles_of_a_frame_gives_the_frame(overlap: int) -> None:
    height, width, scale = 45, 70, 4
    large = torch.rand(3, height * scale, width * scale, generator=torch.Generator().manual_seed(0))
    blender = TileBlender(height, width, scale=scale, overlap=overlap)
    tiles = plan_tiles(height, width, tile=32, overlap=overlap)
    assert len(tiles) > 1
    for tile in tiles:
        rows = slice(tile.top * scale, (tile.top + tile.height) * scale)
        columns = slice(tile.left * scale, (tile.left + tile.width) * scale)
        blender.add(tile, large[:, rows, columns])
    torch.testing.assert_close(blender.result(), large, atol=1e-6, rtol=0)


def test_weights_fade_over_the_overlap() -> None:
    blender = TileBlender(1, 48, scale=1, overlap=16)
    for tile, value in zip(plan_tiles(1, 48, tile=32, overlap=16), (0.0, 1.0), strict=True):
        blender.add(tile, torch.full((3, tile.height, tile.width), value))
    row = blender.result()[0, 0]
    assert row[:16].eq(0).all()
    assert row[32:].eq(1).all()
    assert row[16:32].diff().gt(0).all()


def test_no_tiles_means_one_whole() -> None:
    (tile,) = plan_tiles(45, 70, tile=0, overlap=16)
    assert (tile.top, tile.left, tile.height, tile.width) == (0, 0, 45, 70)
