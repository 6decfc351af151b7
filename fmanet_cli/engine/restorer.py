"""Frames in, restored frames out: one window after the other, whole pictures or tiles."""

from __future__ import annotations

import copy
import itertools
import logging
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from fmanet_cli.engine.colour import coded_planes
from fmanet_cli.engine.device import (
    Precision,
    choose_device,
    choose_precision,
    free_device_memory,
    full_float32,
    is_out_of_memory,
)
from fmanet_cli.engine.graphs import graphed
from fmanet_cli.engine.inflight import (
    WINDOWS_AT_ONCE,
    Once,
    Turns,
    Workers,
    in_groups,
    in_order,
    windows_at_once,
    windows_in_a_pass,
)
from fmanet_cli.engine.memory import largest_tile
from fmanet_cli.engine.runner import ReferenceRunner, WindowRunner
from fmanet_cli.engine.streaming import StreamingRunner
from fmanet_cli.engine.tiling import MIN_TILE, TileBlender, plan_tiles
from fmanet_cli.engine.transfer import transfer_for
from fmanet_cli.engine.windows import Padding, sliding_windows
from fmanet_cli.errors import DeviceError, OptionError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.video.colour import PlaneFormat, Planes
from fmanet_cli.video.frame import CodedFrame, Frame

log = logging.getLogger(__name__)

DEFAULT_TILE_OVERLAP = 16

MAX_PENDING = WINDOWS_AT_ONCE + 1
"""Windows that are computed, wait for it or are on their way back at any time."""

Finished = TypeVar("Finished", Frame, CodedFrame)


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
        compiled: bool = False,
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
        self._transfer = transfer_for(self.device)
        self._turns = Turns()
        self._shrinking = threading.Lock()
        runner = _runner(engine, model, self.device, self.precision)
        self.runner = graphed(runner, device=self.device) if compiled else runner
        """The network as it runs, for whole pictures."""

    @property
    def scale(self) -> int:
        """Output size over input size."""
        return self.model.config.scale

    def restore(self, frames: Iterable[Frame], *, first: int = 0) -> Generator[Frame, None, None]:
        """Yields one restored frame for each frame from number `first` on, in order, with its timestamps.

        A CPU computes two windows side by side, each with half of torch's threads, where threads and memory suffice; a
        CUDA device computes one while another is copied back.

        Args:
            frames: all of one size, never kept longer than a window; read half a window and up to `MAX_PENDING` frames
                ahead. No window reaches across a frame with `starts_shot`: each shot is restored as if it were alone.
            first: frames before it are seen as neighbours only, so that a run can go on where another one ended.

        Returns:
            Frames whose image is (4H, 4W, 3) float32 RGB in [0, 1]. An exception of `frames` comes after all windows
            that were complete before it.

        Raises:
            DeviceError: memory does not even suffice for the smallest tile.
        """
        return self._restored(frames, first, self._as_frame)

    def restore_coded(
        self, frames: Iterable[Frame], plane_format: PlaneFormat, *, first: int = 0
    ) -> Generator[CodedFrame, None, None]:
        """As `restore`, with the pictures as an encoder takes them, made on the device."""

        def coded(source: Frame, restored: Tensor) -> Callable[[], CodedFrame]:
            planes = self._downloaded_planes(restored, plane_format)
            return lambda: CodedFrame(planes(), source.pts, source.time_base, source.duration)

        return self._restored(frames, first, coded)

    def _restored(
        self, frames: Iterable[Frame], first: int, finish: Callable[[Frame, Tensor], Callable[[], Finished]]
    ) -> Generator[Finished, None, None]:
        """`finish` begins the way of a restored picture to the host, and gives back what waits for its arrival."""
        frames = iter(frames)
        head = next(frames, None)
        if head is None:
            return
        height, width = head.size
        count = self._windows_at_once(height, width)
        items = (self._item(index, frame) for index, frame in enumerate(itertools.chain((head,), frames)))
        del head
        windows = sliding_windows(
            items, self.model.config.centre, padding=self.padding, starts_run=lambda item: item.frame.starts_shot
        )
        wanted = (window for window in windows if window[len(window) // 2].index >= first)

        def begun(window: Sequence[_Item], restored: Tensor) -> Callable[[], Finished]:
            return finish(window[len(window) // 2].frame, restored)

        if count == 1:
            groups = in_groups(wanted, self._windows_in_a_pass(height, width))

            def started() -> Iterator[Callable[[], Finished]]:
                # A name for the window would keep its oldest frame's state while the next window is computed.
                for group in groups:
                    yield from map(begun, group, self._restore_group(group))

            yield from in_order(started(), limit=2 if self.device.type == "cuda" else 1)
            return
        with Workers(count) as workers:

            def submitted(window: Sequence[_Item]) -> Callable[[], Finished]:
                def completed() -> Finished:
                    return begun(window, self._restore_window(window))()

                return workers.submit(completed)

            # One more than are computed, so that no worker waits while a finished frame is taken away.
            yield from in_order(map(submitted, wanted), limit=MAX_PENDING)

    def _item(self, index: int, frame: Frame) -> _Item:
        tensor = self.upload(frame.image)
        return _Item(index, tensor, frame, Once(lambda: self.runner.frame_state(tensor)))

    def _windows_at_once(self, height: int, width: int) -> int:
        if self.tile is None:
            self.tile = self._first_tile(height, width)
        if not isinstance(self.runner, StreamingRunner):
            return 1
        pixels = min(self.tile or height, height) * min(self.tile or width, width)
        return windows_at_once(pixels, config=self.model.config, device=self.device, precision=self.precision)

    def _windows_in_a_pass(self, height: int, width: int) -> int:
        if not isinstance(self.runner, StreamingRunner) or not _is_whole(self.tile or 0, height, width):
            return 1
        return windows_in_a_pass(height * width, self.device)

    def _restore_group(self, windows: Sequence[Sequence[_Item]]) -> list[Tensor]:
        """(3, 4H, 4W) each; several windows in one pass where the network can, out of memory one by one."""
        height, width = windows[0][0].tensor.shape[-2:]
        # Tiles may have become necessary since the groups were made.
        if len(windows) > 1 and isinstance(self.runner, StreamingRunner) and _is_whole(self.tile or 0, height, width):
            try:
                return self.runner.windows([[item.state.get() for item in window] for window in windows])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            free_device_memory(self.device)
        return [self._restore_window(window) for window in windows]

    def _restore_window(self, window: Sequence[_Item]) -> Tensor:
        """(3, 4H, 4W); out of memory, tries again alone, and then with smaller tiles until they are the smallest."""
        height, width = window[0].tensor.shape[-2:]
        while True:
            with self._turns.taken() as was_alone:
                tile = self.tile or 0
                try:
                    if _is_whole(tile, height, width):
                        return self.runner.window([item.state.get() for item in reversed(window)][::-1])
                    for item in window:
                        item.state.forget()
                    return self._tiled(window, tile)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
            # Outside the except clause, so that the failed attempt's tensors are gone.
            for item in window:
                item.state.forget()
            free_device_memory(self.device)
            if was_alone or self.device.type != "cpu":
                self._shrink_tile(tile, height, width)
            else:
                self._turns.one_at_a_time()

    def _tiled(self, window: Sequence[_Item], tile_size: int) -> Tensor:
        height, width = window[0].tensor.shape[-2:]
        overlap = min(self.tile_overlap, tile_size // 2)
        blender = TileBlender(height, width, scale=self.scale, overlap=overlap)
        for tile in plan_tiles(height, width, tile=tile_size, overlap=overlap):
            area = (..., slice(tile.top, tile.top + tile.height), slice(tile.left, tile.left + tile.width))
            states = {item.index: self.runner.frame_state(item.tensor[area].contiguous()) for item in window}
            blender.add(tile, self.runner.window([states[item.index] for item in window]))
            # They would stay while those of the next tile are made.
            del states
        return blender.result()

    def _first_tile(self, height: int, width: int) -> int:
        tile = largest_tile(height, width, config=self.model.config, device=self.device, precision=self.precision)
        if tile:
            self._warn(f"the whole {width}x{height} picture may not fit into memory: using tiles of {tile} pixels")
        return tile

    def _shrink_tile(self, tried: int, height: int, width: int) -> None:
        """Takes smaller tiles than those that ran out of memory, unless another window has done so already."""
        with self._shrinking:
            if (self.tile or 0) != tried:
                return
            current = tried or max(height, width)
            if current <= MIN_TILE:
                raise DeviceError(
                    f"not enough memory on {self.device} even for tiles of {MIN_TILE} pixels; "
                    "close other programs, or use --device cpu"
                )
            self.tile = max(MIN_TILE, -(-current // 2))
            self._warn(f"out of memory on {self.device} at {current} pixels: going on with tiles of {self.tile} pixels")

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        log.warning(text)

    def upload(self, image: np.ndarray) -> Tensor:
        """(H, W, 3) RGB array to a (3, H, W) tensor on the device, in the network's colour order."""
        tensor = self._transfer.to_device(image).permute(2, 0, 1)
        return (tensor.flip(0) if self.model.colour_order == "bgr" else tensor).contiguous()

    def download(self, restored: Tensor) -> np.ndarray:
        """(3, H, W) tensor to an (H, W, 3) RGB array in [0, 1]."""
        return self._downloaded(restored)()

    def download_planes(self, restored: Tensor, plane_format: PlaneFormat) -> Planes:
        """(3, H, W) tensor to the planes that an encoder takes."""
        return self._downloaded_planes(restored, plane_format)()

    def _downloaded(self, restored: Tensor) -> Callable[[], np.ndarray]:
        image = self._as_rgb(restored).clamp(0, 1).permute(1, 2, 0).contiguous()
        arrival = self._transfer.to_host([image])
        return lambda: arrival()[0]

    def _downloaded_planes(self, restored: Tensor, plane_format: PlaneFormat) -> Callable[[], Planes]:
        arrival = self._transfer.to_host(coded_planes(self._as_rgb(restored), plane_format))

        def planes() -> Planes:
            luma, blue, red = arrival()
            return luma, blue, red

        return planes

    def _as_rgb(self, picture: Tensor) -> Tensor:
        return picture.flip(0) if self.model.colour_order == "bgr" else picture

    def _as_frame(self, source: Frame, restored: Tensor) -> Callable[[], Frame]:
        image = self._downloaded(restored)
        return lambda: replace(source, image=image())


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """A frame on its way through the windows."""

    index: int
    """Number of the frame."""
    tensor: Tensor
    """(3, H, W) on the device."""
    frame: Frame
    """As it was read."""
    state: Once[Any]
    """What the network computes of this frame alone."""


def _is_whole(tile: int, height: int, width: int) -> bool:
    """Whether tiles of that side leave a picture whole; 0 asks for whole pictures."""
    return tile == 0 or tile >= max(height, width)


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
