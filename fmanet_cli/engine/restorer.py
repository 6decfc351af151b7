"""Frames in, restored frames out: one window after the other, whole pictures or tiles."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fmanet_cli.engine.device import (
    Precision,
    choose_device,
    choose_precision,
    free_device_memory,
    full_float32,
    is_out_of_memory,
)
from fmanet_cli.engine.memory import largest_tile
from fmanet_cli.engine.runner import ReferenceRunner, WindowRunner
from fmanet_cli.engine.streaming import StreamingRunner
from fmanet_cli.engine.tiling import MIN_TILE, TileBlender, plan_tiles
from fmanet_cli.engine.windows import Padding, sliding_windows
from fmanet_cli.errors import DeviceError, OptionError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.video.frame import Frame

log = logging.getLogger(__name__)

DEFAULT_TILE_OVERLAP = 16

_Item = tuple[int, Tensor, Frame]


class Restorer:
    """Restores a stream of frames with a network, on a device, in a precision.

    Every frame gives one restored frame, the first and the last too: where a window would reach past an end it is
    mirrored (`reflect`), which restored the end frames better than repeating them.

    Whole pictures are computed where memory allows. Tiles are an approximation, because the channel attention sums over
    the whole picture; when a picture runs out of memory, the same window is computed again in smaller tiles.

    Raises:
        DeviceError: the device or precision is not available.
        OptionError: a value is out of range.
    """

    def __init__(
        self,
        model: FMANet,
        *,
        device: str = "auto",
        precision: str = "auto",
        tile: int | str = "auto",
        tile_overlap: int = DEFAULT_TILE_OVERLAP,
        padding: Padding = "reflect",
        engine: str = "streaming",
    ) -> None:
        self.model = model
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.tile = _checked_tile(tile, tile_overlap)
        """Tile side in low-resolution pixels; 0 = whole pictures, None = as large as memory allows."""
        self.asked_tile = self.tile
        """`tile` as it was asked for."""
        self.tile_overlap = tile_overlap
        self.padding: Padding = padding
        self.warnings: list[str] = []
        """What the user should know of the run, each said once."""
        full_float32(self.device, self.precision)
        self.runner = _runner(engine, model, self.device, self.precision)
        """The network as it runs, for whole pictures."""

    @property
    def scale(self) -> int:
        """Output size over input size."""
        return self.model.config.scale

    def restore(self, frames: Iterable[Frame], *, first: int = 0) -> Iterator[Frame]:
        """Yields one restored frame for each frame from number `first` on, in order, with its timestamps.

        Args:
            frames: all of one size; read one window ahead, never kept longer than a window. No window reaches across a
                frame with `starts_shot`: each shot is restored as if it were alone.
            first: frames before it are seen as neighbours only, so that a run can go on where another one ended.

        Returns:
            Frames whose image is (4H, 4W, 3) float32 RGB in [0, 1].

        Raises:
            DeviceError: memory does not even suffice for the smallest tile.
        """
        states: dict[int, Any] = {}
        items = ((index, self.upload(frame.image), frame) for index, frame in enumerate(frames))
        windows = sliding_windows(
            items, self.model.config.centre, padding=self.padding, starts_run=lambda item: item[2].starts_shot
        )
        for window in windows:
            if window[len(window) // 2][0] < first:
                continue
            for index in [index for index in states if all(index != item[0] for item in window)]:
                del states[index]
            restored = self._restore_window(window, states)
            yield replace(window[len(window) // 2][2], image=self.download(restored))

    def _restore_window(self, window: Sequence[_Item], states: dict[int, Any]) -> Tensor:
        """(3, 4H, 4W); out of memory, tries again with smaller tiles until they are the smallest."""
        height, width = window[0][1].shape[-2:]
        if self.tile is None:
            self.tile = self._first_tile(height, width)
        while True:
            try:
                if self.tile == 0 or self.tile >= max(height, width):
                    return self._whole(window, states)
                states.clear()
                return self._tiled(window, self.tile)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Outside the except clause, so that the failed attempt's tensors are gone.
            states.clear()
            free_device_memory(self.device)
            self.tile = self._smaller_tile(height, width)

    def _whole(self, window: Sequence[_Item], states: dict[int, Any]) -> Tensor:
        for index, tensor, _ in window:
            if index not in states:
                states[index] = self.runner.frame_state(tensor)
        return self.runner.window([states[index] for index, _, _ in window])

    def _tiled(self, window: Sequence[_Item], tile_size: int) -> Tensor:
        height, width = window[0][1].shape[-2:]
        overlap = min(self.tile_overlap, tile_size // 2)
        blender = TileBlender(height, width, scale=self.scale, overlap=overlap)
        for tile in plan_tiles(height, width, tile=tile_size, overlap=overlap):
            area = (..., slice(tile.top, tile.top + tile.height), slice(tile.left, tile.left + tile.width))
            states = {index: self.runner.frame_state(tensor[area].contiguous()) for index, tensor, _ in window}
            blender.add(tile, self.runner.window([states[index] for index, _, _ in window]))
        return blender.result()

    def _first_tile(self, height: int, width: int) -> int:
        tile = largest_tile(height, width, config=self.model.config, device=self.device, precision=self.precision)
        if tile:
            self._warn(f"the whole {width}x{height} picture may not fit into memory: using tiles of {tile} pixels")
        return tile

    def _smaller_tile(self, height: int, width: int) -> int:
        current = self.tile if self.tile else max(height, width)
        smaller = max(MIN_TILE, -(-current // 2))
        if current <= MIN_TILE:
            raise DeviceError(
                f"not enough memory on {self.device} even for tiles of {MIN_TILE} pixels; "
                "close other programs, or use --device cpu"
            )
        self._warn(f"out of memory on {self.device} at {current} pixels: going on with tiles of {smaller} pixels")
        return smaller

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        log.warning(text)

    def upload(self, image: np.ndarray) -> Tensor:
        """(H, W, 3) RGB array to a (3, H, W) tensor on the device, in the network's colour order."""
        tensor = torch.from_numpy(np.ascontiguousarray(image)).to(self.device).permute(2, 0, 1)
        return (tensor.flip(0) if self.model.colour_order == "bgr" else tensor).contiguous()

    def download(self, restored: Tensor) -> np.ndarray:
        """(3, H, W) tensor to an (H, W, 3) RGB array in [0, 1]."""
        ordered = restored.flip(0) if self.model.colour_order == "bgr" else restored
        return ordered.clamp(0, 1).permute(1, 2, 0).contiguous().cpu().numpy()


def _runner(engine: str, model: FMANet, device: torch.device, precision: Precision) -> WindowRunner:
    """The streaming network, or the plain one that it is measured against."""
    if engine == "streaming":
        return StreamingRunner(model, device=device, precision=precision)
    if engine == "reference":
        return ReferenceRunner(copy.deepcopy(model).eval(), device=device, precision=precision)
    raise OptionError(f"engine must be streaming or reference, got {engine!r}")


def _checked_tile(tile: int | str, overlap: int) -> int | None:
    """Tile side; None for `auto`."""
    if overlap < 0:
        raise OptionError(f"tile overlap must be at least 0, got {overlap}")
    if tile == "auto":
        return None
    try:
        size = int(tile)
    except ValueError:
        raise OptionError(f"tile must be auto, 0 or a number of pixels, got {tile!r}") from None
    if size != 0 and size < MIN_TILE:
        raise OptionError(f"tile must be 0 (whole picture) or at least {MIN_TILE} pixels, got {size}")
    if size and overlap > size // 2:
        raise OptionError(f"tile overlap must be at most half the tile ({size // 2}), got {overlap}")
    return size
