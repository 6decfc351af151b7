"""One film on its way through a restorer: its tiling, the order of its windows, what went wrong and was mended."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from fmanet_cli.engine.device import Precision, free_device_memory
from fmanet_cli.engine.device_errors import in_one_line, is_out_of_memory
from fmanet_cli.engine.fast.cuda_graphs import GraphedRunner
from fmanet_cli.engine.memory import largest_tile
from fmanet_cli.engine.planes import planar_codes
from fmanet_cli.engine.prepared import PreparedNetwork
from fmanet_cli.engine.repeats import shows_the_same
from fmanet_cli.engine.resizing import resized
from fmanet_cli.engine.runner import BatchRunner, WindowRunner
from fmanet_cli.engine.schedule import (
    WINDOWS_AT_ONCE,
    Once,
    Turns,
    Workers,
    in_groups,
    in_order,
    windows_at_once,
    windows_in_a_pass,
)
from fmanet_cli.engine.strength import blended, check_strength
from fmanet_cli.engine.tiling import MIN_TILE, TileBlender, Tiling, plan_tiles
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


def no_frame(_: int) -> bool:
    """Skips no frame."""
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
        notes: Notes | None = None,
    ) -> None:
        """`tiling`: how an earlier part of the film was restored; None = decided by the memory that is free now.

        `strength`: share of the network's result in each frame, the rest is the enlarged source; in [0, 1].

        `notes`: where it is said what was changed on the way; None = a collector of its own.
        """
        check_strength(strength)
        self._strength = strength
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
        """Yields one restored frame for each frame that is not skipped, in order, with its timestamps.

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
        made: Callable[[Tensor], Sequence[Tensor]],
        finish: Callable[[Frame, list[np.ndarray]], Finished],
    ) -> Generator[Finished, None, None]:
        """`made`: a restored frame as it goes to the host, on the device; `finish`: what becomes of it there."""
        wanted = self._wanted(frames, skips)

        def completed(begun: _Begun) -> _Result:
            arrays = begun.arrival()
            # The flag came with the frame: to ask the device for it would stop it.
            while not arrays.pop().all():
                self._lengthen_precision(begun.precision, _centre(begun.window).index)
                begun = self._again(begun.window, made)
                arrays = begun.arrival()
            return _centre(begun.window).frame, arrays

        def completion(begun: _Begun) -> Callable[[], _Result]:
            return lambda: completed(begun)

        def finished(results: Iterator[_Result]) -> Iterator[Finished]:
            # What shows the same as the frame before is not computed again, but has a timestamp of its own.
            before: list[np.ndarray] = []
            for frame, arrays in results:
                before = before if arrays is None else arrays
                yield finish(frame, before)

        count = self._windows_at_once()
        if count == 1:

            def started() -> Iterator[Callable[[], _Result]]:
                for group in in_groups(wanted, lambda: self.pass_size):
                    repeats = [frame if window is None else None for frame, window in group]
                    windows = [window for _, window in group if window is not None]
                    # The group would keep the states of windows that are done.
                    group.clear()
                    # No name for what is begun: it would stay while the next window is computed.
                    begun = map(completion, self._begun_group(windows, made))
                    yield from (next(begun) if frame is None else _repeat(frame) for frame in repeats)

            # CUDA computes the next window while a frame is copied back; elsewhere each is given away before the next.
            yield from finished(in_order(started(), limit=2 if self._restorer.device.type == "cuda" else 1))
            return
        with Workers(count) as workers:

            def submitted(frame: Frame, window: _Window | None) -> Callable[[], _Result]:
                if window is None:
                    return _repeat(frame)
                return workers.submit(lambda: completed(self._begun(window, made)))

            # One more than are computed, so that no worker waits while a finished frame is taken away.
            yield from finished(in_order(itertools.starmap(submitted, wanted), limit=MAX_PENDING))

    def _wanted(self, frames: Iterable[Frame], skips: Callable[[int], bool]) -> Iterator[tuple[Frame, _Window | None]]:
        """Every frame that is not skipped with its window; None where that shows what the wanted one before shows."""
        shown: tuple[int, ...] | None = None
        for window in sliding_windows(
            self._items(frames), self._restorer.model.config.centre, starts_run=lambda item: item.frame.starts_shot
        ):
            if skips(_centre(window).index):
                continue
            before, shown = shown, tuple(item.first for item in window)
            yield _centre(window).frame, None if shown == before else window

    def _items(self, frames: Iterable[Frame]) -> Iterator[_Item]:
        before: _Item | None = None
        for index, frame in enumerate(frames):
            if before is not None and shows_the_same(frame.image, before.frame.image):
                before = replace(before, index=index, frame=frame)
            else:
                before = self._item(index, frame)
            yield before

    def _item(self, index: int, frame: Frame) -> _Item:
        tensor = self._with_less_memory(lambda _: self._restorer.upload(frame.image))
        return _Item(index, index, tensor, frame, Once(lambda runner: runner.frame_state(tensor)))

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
                f"the whole {self._width}x{self._height} picture may not fit into memory: using tiles of {size} pixels"
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

    def _begun_group(self, group: list[_Window], made: Callable[[Tensor], Sequence[Tensor]]) -> Iterator[_Begun]:
        """Several windows in one pass where the network can; out of memory, fewer in a pass from then on.

        The list is emptied on the way: a name for a window would keep its oldest frame's state while the next one is
        computed.
        """
        runner = self._runner
        if len(group) > 1 and isinstance(runner, BatchRunner) and self._is_whole(self.tiling.size):
            try:
                _make_states(runner, group)
                images = runner.windows([[item.state.get(runner) for item in window] for window in group])
                begun = [self._sent(window, image, made) for window, image in zip(group, images, strict=True)]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            else:
                group.clear()
                yield from begun
                return
            for item in itertools.chain.from_iterable(group):
                item.state.forget()
            free_device_memory(self._restorer.device)
            self.pass_size = len(group) // 2
        while group:
            part = [group.pop(0) for _ in range(min(len(group), self.pass_size))]
            if len(part) == 1:
                yield self._begun(part.pop(), made)
            else:
                yield from self._begun_group(part, made)

    def _begun(self, window: Sequence[_Item], made: Callable[[Tensor], Sequence[Tensor]]) -> _Begun:
        """One window computed, its frame on the way to the host."""

        def compute(tile: int) -> _Begun:
            runner = self._runner
            if self._is_whole(tile):
                # The newest first: its state is the one that is missing.
                states = [item.state.get(runner) for item in reversed(window)][::-1]
                return self._sent(window, runner.window(states), made)
            for item in window:
                item.state.forget()
            return self._sent(window, self._tiled(window, tile), made)

        def forget() -> None:
            for item in window:
                item.state.forget()

        return self._with_less_memory(compute, forget)

    def _again(self, window: Sequence[_Item], made: Callable[[Tensor], Sequence[Tensor]]) -> _Begun:
        """A window computed again from its frames alone: their states may be gone."""
        return self._with_less_memory(lambda tile: self._sent(window, self._tiled(window, tile), made))

    def _with_less_memory(self, compute: Callable[[int], Value], forget: Callable[[], None] = lambda: None) -> Value:
        """Calls `compute` with the tile side; out of memory, alone, and then with smaller tiles until the smallest."""
        while True:
            with self._turns.taken() as was_alone:
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

    def _tiled(self, window: Sequence[_Item], tile_size: int) -> Tensor:
        height, width, runner = self._height, self._width, self._runner
        if self._is_whole(tile_size):
            tile_size = 0
        overlap = min(self.tiling.overlap, tile_size // 2)
        blender = TileBlender(height, width, scale=self._restorer.scale, overlap=overlap)
        for tile in plan_tiles(height, width, tile=tile_size, overlap=overlap):
            area = (..., slice(tile.top, tile.top + tile.height), slice(tile.left, tile.left + tile.width))
            states = {item.index: runner.frame_state(item.tensor[area].contiguous()) for item in window}
            blender.add(tile, runner.window([states[item.index] for item in window]))
            # They would stay while those of the next tile are made.
            del states
        return blender.result()

    def _sent(self, window: Sequence[_Item], restored: Tensor, made: Callable[[Tensor], Sequence[Tensor]]) -> _Begun:
        """Begins the way of a restored frame to the host, with a flag that says whether it holds numbers only."""
        # What is no number spreads into a sum, which needs no image of flags as `isfinite` does.
        flag = restored.sum().isfinite()
        image = blended(restored, _centre(window).tensor, self._strength)
        arrival = self._restorer.transfer.to_host([*made(image), flag])
        return _Begun(tuple(replace(item, state=_NO_STATE) for item in window), self.precision, arrival)

    def _shrink_tiles(self, tried: int, reason: str) -> None:
        """Takes smaller tiles than those that ran out of memory, unless another window has done so already."""
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
        """Goes on in the next longer precision, unless another window has seen to it already.

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


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """A frame on its way through the windows."""

    index: int
    """Number of the frame."""
    first: int
    """Number of the first frame of those in a row that show the same; they share tensor and state."""
    tensor: Tensor
    """(3, H, W) on the device."""
    frame: Frame
    """As it was read."""
    state: Once[WindowRunner, Any]
    """What a runner computes of this frame alone."""


def _make_states(runner: BatchRunner, group: Sequence[_Window]) -> None:
    """Makes the states that windows lack in one pass, as the windows are."""
    missing = {id(item.state): item for window in group for item in window if not item.state.is_made_by(runner)}
    if missing:
        made = runner.frame_states([item.tensor for item in missing.values()])
        for item, state in zip(missing.values(), made, strict=True):
            item.state.give(runner, state)


_NO_STATE: Once[WindowRunner, Any] = Once(lambda _: None)


_Window = tuple[_Item, ...]
_Result = tuple[Frame, list[np.ndarray] | None]
"""A frame as it was read and the arrays of its restored frame; None = those of the frame before."""


@dataclass(frozen=True, slots=True, eq=False)
class _Begun:
    """A restored frame on its way to the host."""

    window: Sequence[_Item]
    """Its frames, without their states: those are needed by the next windows only."""
    precision: Precision
    """What it was computed in."""
    arrival: Callable[[], list[np.ndarray]]
    """Waits for its arrays, the last of which says whether all its values are numbers."""


def _repeat(frame: Frame) -> Callable[[], _Result]:
    return lambda: (frame, None)


def _centre(window: Sequence[_Item]) -> _Item:
    return window[len(window) // 2]
