"""One film on its way through a restorer: its tiling, the order of its windows, what went wrong and was mended."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
from torch import Tensor

from fmanet_cli.engine.device import Precision, free_device_memory
from fmanet_cli.engine.device_errors import in_one_line, is_out_of_memory
from fmanet_cli.engine.device_frame import DeviceFrame
from fmanet_cli.engine.fast.cuda_graphs import GraphedRunner
from fmanet_cli.engine.memory import largest_tile
from fmanet_cli.engine.planes import planar_codes
from fmanet_cli.engine.prepared import PreparedNetwork
from fmanet_cli.engine.repeats import shows_the_same
from fmanet_cli.engine.resizing import resized
from fmanet_cli.engine.runner import BatchRunner
from fmanet_cli.engine.schedule import (
    WINDOWS_AT_ONCE,
    Turns,
    Workers,
    in_order,
    windows_at_once,
    windows_in_a_pass,
)
from fmanet_cli.engine.source_look import SourceLook, as_seen, check_source_look
from fmanet_cli.engine.strength import blended, check_strength
from fmanet_cli.engine.tiling import MIN_TILE, TileBlender, Tiling, plan_tiles
from fmanet_cli.engine.transfer import Arrival
from fmanet_cli.engine.windows import sliding_windows
from fmanet_cli.errors import DeviceError, WeightsError
from fmanet_cli.notes import Notes
from fmanet_cli.video.frames import Frame, PlanarFrame
from fmanet_cli.video.pixels.colour import PlaneFormat

log = logging.getLogger(__name__)

MAX_PENDING = WINDOWS_AT_ONCE + 1
"""Windows that are computed, wait for it or are on their way back at any time."""

Finished = TypeVar("Finished", Frame, PlanarFrame)
Value = TypeVar("Value")
Made = Callable[[Tensor], Sequence[Tensor]]
"""What of a restored frame goes to the host, on the device."""


def no_frame(_: int) -> bool:
    """Skip no frame."""
    return False


class RestorationRun:
    """What one film needs and no other film may inherit; made by `Restorer.start`.

    Whole frames are computed where memory allows. Tiles are an approximation, because the channel attention sums over
    the whole frame; when a frame runs out of memory, the same window is computed again in smaller tiles.

    Every restored frame is looked at before it is given away: where it holds a value that is no number, its window is
    computed again in the next longer precision, and so is the rest of the film.
    """

    def __init__(
        self,
        restorer: PreparedNetwork,
        height: int,
        width: int,
        *,
        tiling: Tiling | None = None,
        strength: float = 1.0,
        source_look: SourceLook = "plain",
        notes: Notes | None = None,
    ) -> None:
        """`tiling`: how an earlier part of the film was restored; None = decided by the memory that is free now.

        `strength`: share of the network's result in each frame, the rest is the enlarged source; in [0, 1].

        `source_look`: `camera` = frames that a camera has sharpened, which the network sees softened.

        `notes`: where it is said what was changed on the way; None = a collector of its own.
        """
        check_strength(strength)
        check_source_look(source_look)
        self._strength, self._source_look = strength, source_look
        self._restorer, self._height, self._width = restorer, height, width
        self._notes = Notes() if notes is None else notes
        self._notes.add(*restorer.warnings)
        self._runner = restorer.runner
        self._turns = Turns()
        self._changing = threading.Lock()
        self.precision: Precision = restorer.precision
        """What the network computes in now."""
        self.tiling = tiling or self._first_tiling()
        """How frames are computed now."""
        self.pass_size = self._first_pass_size()
        """Windows that are computed in one pass now."""

    @property
    def restored_size(self) -> tuple[int, int]:
        """(height, width) of restored frames in pixels."""
        return self._restorer.scale * self._height, self._restorer.scale * self._width

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of this film and of the device, each said once."""
        problem = self._runner.problem if isinstance(self._runner, GraphedRunner) else None
        return (*self._notes, *([problem] if problem else []))

    def restore(
        self,
        frames: Iterable[Frame],
        *,
        size: tuple[int, int] | None = None,
        skips: Callable[[int], bool] = no_frame,
    ) -> Generator[Frame, None, None]:
        """Yield one restored frame for each frame that is not skipped, in order, with its timestamps.

        A CPU computes two windows side by side, each with half of torch's threads, where threads and memory suffice; a
        CUDA device computes one while another is copied back.

        Args:
            frames: all of the run's size, never kept longer than a window; read half a window and up to `MAX_PENDING`
                frames ahead. No window reaches across a frame with `starts_shot`: each shot is restored as if it were
                alone.
            size: (height, width) of the results; None = `restored_size`, else resized on the device.
            skips: whether the frame of a number, from 0, is seen as a neighbour only, because it was restored before or
                elsewhere.

        Returns:
            Frames whose image is (4H, 4W, 3), or of `size`, float32 RGB in [0, 1]; where a window shows what the one
            before shows both have one image, so copy what you change. An exception of `frames` comes after all windows
            that were complete before it.

        Raises:
            DeviceError: memory does not even suffice for the smallest tile, or the requested precision holds no result.
            WeightsError: the network gives no numbers in float32 either.
        """

        def made(restored: Tensor) -> list[Tensor]:
            return [self._restorer.as_image(resized(restored, size))]

        return self._restored(frames, skips, made, lambda source, arrays: replace(source, image=arrays[0]))

    def restore_planar(
        self,
        frames: Iterable[Frame],
        plane_format: PlaneFormat,
        *,
        size: tuple[int, int] | None = None,
        skips: Callable[[int], bool] = no_frame,
    ) -> Generator[PlanarFrame, None, None]:
        """As `restore`, with the frames as an encoder takes them, made on the device."""

        def made(restored: Tensor) -> Sequence[Tensor]:
            return planar_codes(self._restorer.as_rgb(resized(restored, size)), plane_format)

        def planar(source: Frame, arrays: list[np.ndarray]) -> PlanarFrame:
            luma, blue, red = arrays
            return PlanarFrame((luma, blue, red), source.pts, source.time_base, source.duration, source.captioned)

        return self._restored(frames, skips, made, planar)

    def _restored(
        self,
        frames: Iterable[Frame],
        skips: Callable[[int], bool],
        made: Made,
        finish: Callable[[Frame, list[np.ndarray]], Finished],
    ) -> Generator[Finished, None, None]:
        """`finish`: what becomes of a frame as it was read and the arrays of the restored one."""
        count, is_cuda = self._windows_at_once(), self._restorer.device.type == "cuda"
        begin: Callable[[list[_Window]], Iterable[Callable[[], _Result]]]
        with Workers(count) if count > 1 else contextlib.nullcontext() as workers:
            if workers is not None:
                begin = partial(self._side_by_side, workers, made)
                # One more than are computed, so that no worker waits while a finished frame is taken away.
                limit = MAX_PENDING
            else:
                begin = partial(self._in_passes, made)
                # CUDA computes the next window while a frame is copied back; elsewhere each is given away before that.
                limit = 2 if is_cuda else 1
            results = in_order(self._windows(frames, skips), begin, size=lambda: self.pass_size, limit=limit)
            shown: list[np.ndarray] = []
            for frame, arrays in results:
                # What shows the same as the frame before is not computed again, but has a timestamp of its own.
                shown = shown if arrays is None else arrays
                yield finish(frame, shown)

    def _windows(self, frames: Iterable[Frame], skips: Callable[[int], bool]) -> Iterator[_Window]:
        """The window of every frame that is not skipped."""
        newest: DeviceFrame | None = None

        def uploaded(number: int, frame: Frame) -> tuple[Frame, DeviceFrame]:
            nonlocal newest
            if newest is None or not shows_the_same(frame.image, newest.image):
                tensor = self._with_less_memory(lambda _: self._restorer.upload(frame.image))
                seen = self._with_less_memory(lambda _: as_seen(tensor, self._source_look))
                newest = DeviceFrame(number, frame.image, tensor, seen)
            return frame, newest

        radius, shown = self._restorer.model.config.centre, [-1]
        pairs = map(uploaded, itertools.count(), frames)
        for number, near in enumerate(sliding_windows(pairs, radius, starts_run=lambda pair: pair[0].starts_shot)):
            if not skips(number):
                before, shown = shown, [frame.number for _, frame in near]
                yield _Window(near[radius][0], number, [frame for _, frame in near] if shown != before else [])

    def _first_tiling(self) -> Tiling:
        requested = self._restorer.tiling
        if requested.mode != "auto":
            # What is reported is what is done.
            return replace(requested, size=0) if self._is_whole(requested.size) else requested
        size = largest_tile(
            self._height,
            self._width,
            config=self._restorer.model.config,
            device=self._restorer.device,
            precision=self._restorer.precision,
        )
        if size:
            self._warn(
                f"the whole {self._width}x{self._height} frame may not fit into memory: using tiles of {size} pixels"
            )
        return replace(requested, size=size)

    def _is_whole(self, tile: int) -> bool:
        """Whether tiles of that side leave a frame whole; 0 asks for whole frames."""
        return tile == 0 or tile >= max(self._height, self._width)

    def _windows_at_once(self) -> int:
        if not isinstance(self._runner, BatchRunner):
            return 1
        tile = self.tiling.size
        pixels = min(tile or self._height, self._height) * min(tile or self._width, self._width)
        restorer = self._restorer
        return windows_at_once(
            pixels, config=restorer.model.config, device=restorer.device, precision=restorer.precision
        )

    def _first_pass_size(self) -> int:
        if not isinstance(self._runner, BatchRunner) or not self._is_whole(self.tiling.size):
            return 1
        restorer = self._restorer
        if isinstance(self._runner, GraphedRunner) and self._runner.records(self._height, self._width):
            return 1
        return windows_in_a_pass(
            self._height * self._width,
            parameters=restorer.model.count_parameters(),
            config=restorer.model.config,
            device=restorer.device,
            precision=self.precision,
        )

    def _in_passes(self, made: Made, windows: list[_Window]) -> Iterator[Callable[[], _Result]]:
        """Begin with windows, several in one pass where the network can; out of memory, fewer from then on.

        The list is emptied on the way.
        """
        while windows:
            count = min(len(windows), self.pass_size) if self._is_whole(self.tiling.size) else 1
            new = [window for window in windows[:count] if window.frames]
            if len(new) == 1:
                self._begin(made, new[0])
            elif new and not self._begin_together(made, new):
                for window in new:
                    window.forget()
                free_device_memory(self._restorer.device)
                self.pass_size = len(new) // 2
                continue
            for _ in range(count):
                yield partial(self._arrived, made, windows.pop(0))

    def _begin_together(self, made: Made, windows: Sequence[_Window]) -> bool:
        """Begin with windows in one pass; whether memory sufficed."""
        runner = self._runner
        assert isinstance(runner, BatchRunner)
        try:
            DeviceFrame.make_states(runner, [frame for window in windows for frame in window.frames])
            images = runner.windows([[frame.state(runner) for frame in window.frames] for window in windows])
            for window, image in zip(windows, images, strict=True):
                self._send(made, window, image)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        for window in windows:
            window.frames = []
        return True

    def _side_by_side(self, workers: Workers, made: Made, windows: list[_Window]) -> Iterable[Callable[[], _Result]]:
        """Have windows computed by workers."""

        def computed(window: _Window) -> _Result:
            if window.frames:
                self._begin(made, window)
            return self._arrived(made, window)

        return [workers.submit(partial(computed, window)) for window in windows]

    def _begin(self, made: Made, window: _Window) -> None:
        """Compute a window and send its frame on the way to the host."""

        def compute(tile: int) -> None:
            if self._is_whole(tile):
                runner = self._runner
                # The newest first: its state is the one that is missing.
                states = [frame.state(runner) for frame in reversed(window.frames)][::-1]
                self._send(made, window, runner.window(states))
            else:
                window.forget()
                self._send(made, window, self._tiled(window, tile))

        self._with_less_memory(compute, window.forget)
        window.frames = []

    def _arrived(self, made: Made, window: _Window) -> _Result:
        """Wait for the arrays of a window; None = those of the window before."""
        if window.arrival is None:
            return window.frame, None
        arrays = window.arrival()
        # The flag came with the frame: to ask the device for it would stop it.
        while not arrays.pop().all():
            self._lengthen_precision(window.precision, window.number)
            # From the tensors alone: the states may be gone.
            self._with_less_memory(lambda tile: self._send(made, window, self._tiled(window, tile)))
            arrays = window.arrival()
        return window.frame, arrays

    def _with_less_memory(self, compute: Callable[[int], Value], forget: Callable[[], None] = lambda: None) -> Value:
        """Call `compute` with the tile side; out of memory, alone, and then with smaller tiles until the smallest."""
        while True:
            with self._turns as was_alone:
                tile = self.tiling.size
                try:
                    return compute(tile)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    reason = in_one_line(error)
            # Outside the except clause, so that the failed attempt's tensors are gone.
            forget()
            free_device_memory(self._restorer.device)
            if was_alone or self._restorer.device.type != "cpu":
                self._shrink_tiles(tile, reason)
            else:
                self._turns.one_at_a_time()

    def _tiled(self, window: _Window, tile_size: int) -> Tensor:
        height, width, runner = self._height, self._width, self._runner
        if self._is_whole(tile_size):
            tile_size = 0
        overlap = min(self.tiling.overlap, tile_size // 2)
        blender = TileBlender(height, width, scale=self._restorer.scale, overlap=overlap)
        for tile in plan_tiles(height, width, tile=tile_size, overlap=overlap):
            area = (..., slice(tile.top, tile.top + tile.height), slice(tile.left, tile.left + tile.width))
            # A window at an end has a frame twice.
            states = {id(tensor): runner.frame_state(tensor[area].contiguous()) for tensor in set(window.seen)}
            blender.add(tile, runner.window([states[id(tensor)] for tensor in window.seen]))
            # They would stay while those of the next tile are made.
            del states
        return blender.result()

    def _send(self, made: Made, window: _Window, restored: Tensor) -> None:
        """Begin the way of a restored frame to the host, with a flag that says whether it holds numbers only."""
        # What is no number spreads into a sum, which needs no image of flags as `isfinite` does.
        flag = restored.sum().isfinite()
        assert window.source is not None
        image = blended(restored, window.source, self._strength)
        window.precision = self.precision
        window.arrival = self._restorer.transfer.to_host([*made(image), flag])

    def _shrink_tiles(self, tried: int, reason: str) -> None:
        """Take smaller tiles than those that ran out of memory, unless another window has done so already."""
        device = self._restorer.device
        with self._changing:
            if self.tiling.size != tried:
                return
            current = tried or max(self._height, self._width)
            if current <= MIN_TILE:
                raise DeviceError(
                    f"not enough memory on {device} even for tiles of {MIN_TILE} pixels ({reason}); "
                    "close other programs, or use another device"
                )
            size = max(MIN_TILE, -(-current // 2))
            self.tiling = replace(self.tiling, size=size)
            self._warn(f"out of memory on {device} at {current} pixels: going on with tiles of {size} pixels")

    def _lengthen_precision(self, tried: Precision, frame: int) -> None:
        """Go on in the next longer precision, unless another window has seen to it already.

        Raises:
            DeviceError: the precision was requested.
            WeightsError: there is none left.
        """
        restorer = self._restorer
        where = f"the network gives values that are no numbers for frame {frame} in {tried} on {restorer.device}"
        with self._changing:
            if self.precision != tried:
                return
            if tried == "fp32":
                raise WeightsError(f"{where}: its weights overflow; use other weights")
            if not restorer.precision_is_free:
                raise DeviceError(f"{where}; use precision fp32, or other weights if that fails too")
            self.precision, self._runner = restorer.longer(tried)
            self.pass_size = 1
            self._warn(f"{where}: going on in {self.precision}")

    def _warn(self, text: str) -> None:
        self._notes.add(text)
        log.warning(text)


_Result = tuple[Frame, list[np.ndarray] | None]
"""A frame as it was read and the arrays of its restored frame; None = those of the frame before."""


class _Window:
    """The frames that one restored frame is computed from; then that frame, on its way to the host."""

    def __init__(self, frame: Frame, number: int, frames: list[DeviceFrame]) -> None:
        self.frame = frame
        """The one that is restored, as it was read."""
        self.number = number
        """Of that."""
        self.frames = frames
        """Of the window, in order, until it is computed; empty where it shows what the window before shows."""
        self.seen = [frame.seen for frame in frames]
        """Of the same frames: without their states, which are needed by the next windows only."""
        self.source = frames[len(frames) // 2].tensor if frames else None
        """The one that is restored, on the device as it was read; None where it shows what the window before shows."""
        self.precision: Precision = "fp32"
        """What it was computed in."""
        self.arrival: Arrival | None = None
        """Waits for its arrays, the last of which says whether all its values are numbers."""

    def forget(self) -> None:
        """Free what was computed of each frame alone."""
        for frame in self.frames:
            frame.forget()
