"""Frames in, restored frames out: a network, a device and a precision, from which every film gets a run of its own."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor

from fmanet_cli.engine.device import (
    DTYPES,
    Precision,
    choose_device,
    choose_precision,
    device_warnings,
    longer_precisions,
)
from fmanet_cli.engine.device_errors import device_errors
from fmanet_cli.engine.fast.cuda_graphs import GraphedRunner, graphed
from fmanet_cli.engine.fast.fused import why_not_fused
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.engine.memory import cap_device_memory
from fmanet_cli.engine.planes import planar_codes
from fmanet_cli.engine.run import RestorationRun, no_frame
from fmanet_cli.engine.runner import ReferenceRunner, WindowRunner
from fmanet_cli.engine.self_check import SelfCheck, Trial, fallback_warnings
from fmanet_cli.engine.source_look import SourceLook
from fmanet_cli.engine.tiling import DEFAULT_OVERLAP, Tiling
from fmanet_cli.engine.transfer import transfer_for
from fmanet_cli.errors import OptionError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.notes import Notes
from fmanet_cli.video.frames import Frame, PlanarFrame
from fmanet_cli.video.pixels.colour import PlaneFormat, Planes


class Restorer:
    """A network ready to restore films on a device in a precision. Nothing of it changes while it is used.

    Every frame gives one restored frame, the first and the last too: where a window would reach past an end it is
    mirrored (`reflect`), which restored the end frames better than repeating them.
    """

    def __init__(
        self,
        model: FMANet,
        *,
        device: str = "auto",
        precision: str = "auto",
        tile: int | str = "auto",
        tile_overlap: int = DEFAULT_OVERLAP,
        engine: str = "streaming",
        compiled: str = "auto",
        runner: WindowRunner | None = None,
    ) -> None:
        """Build the network on its device and check what it computes there.

        Args:
            model: the network, which is copied; it is not changed.
            device: `auto` (CUDA, then Metal, then the CPU), `cpu`, `cuda`, `cuda:N` or `mps`.
            precision: `auto` (16 bits where they are faster and were checked), `fp32`, `fp16` or `bf16`.
            tile: side of the tiles in source pixels; 0 = whole frames, `auto` = whole where memory allows.
            tile_overlap: source pixels that neighbouring tiles share.
            engine: `streaming`, or `reference`: the plain network, which computes every frame of every window anew.
            compiled: `auto`, `on` or `off`, whether the network is recorded as CUDA graphs.
            runner: computes the windows instead of the network as it is built here.

        Raises:
            DeviceError: the device or precision is not available, or the check failed.
            OptionError: a value is out of range.
        """
        self.model: Final = model
        self.device: Final = choose_device(device)
        self.precision_is_free: Final = precision == "auto"
        """Whether another precision may be taken where this one gives no result."""
        self.tiling: Final = Tiling.requested(tile, tile_overlap)
        """As it was requested; each run decides for itself."""
        with device_errors(self.device):
            cap_device_memory(self.device)
            self.transfer: Final = transfer_for(self.device)
            """The way of frames to the device and back."""
            wanted = choose_precision(precision, self.device)
            built, chosen, trials = (
                _network(engine, model, self.device, wanted, is_free=self.precision_is_free)
                if runner is None
                else (runner, wanted, ())
            )
        self.precision: Final[Precision] = chosen
        """What the network computes in, unless a film shows that its range does not suffice."""
        self.trials: Final[tuple[Trial, ...]] = trials
        """How the device stood the self-check, way by way; empty on a CPU, against which others are checked."""
        self.runner: Final = graphed(built, compiled, model=model, device=self.device, precision=chosen)
        """The network as it runs, for whole frames."""
        self.warnings: Final[tuple[str, ...]] = (
            *device_warnings(device),
            *_unfused_warnings(self.device, self.precision),
            *fallback_warnings(self.device, trials),
        )
        """What the user should know of the device, whatever is restored on it."""

    @property
    def eager_runner(self) -> WindowRunner:
        """The network without CUDA graphs, in which every operation can be counted."""
        return self.runner.eager if isinstance(self.runner, GraphedRunner) else self.runner

    @property
    def scale(self) -> int:
        """Output size over input size."""
        return self.model.config.scale

    def start(
        self,
        height: int,
        width: int,
        *,
        tiling: Tiling | None = None,
        strength: float = 1.0,
        source_look: SourceLook = "plain",
        notes: Notes | None = None,
    ) -> RestorationRun:
        """A run for one film of frames of this size.

        Args:
            height: of its frames, in pixels.
            width: of its frames, in pixels.
            tiling: how an earlier part of the film was restored; None = decided by the memory that is free now.
            strength: share of the network's result in each frame, in [0, 1]; the rest is the enlarged source.
            source_look: `camera` = frames that a camera has sharpened, which the network sees softened.
            notes: where it is said what was changed on the way; None = a collector of its own.

        Raises:
            OptionError: the strength lies outside [0, 1], or the look of the source is unknown.
        """
        return RestorationRun(
            self, height, width, tiling=tiling, strength=strength, source_look=source_look, notes=notes
        )

    def restore(
        self,
        frames: Iterable[Frame],
        *,
        source_look: SourceLook = "plain",
        skips: Callable[[int], bool] = no_frame,
    ) -> Generator[Frame, None, None]:
        """Restore the frames of one film, all of the size of the first one.

        Args:
            frames: (H, W, 3) float32 RGB in [0, 1] each, gamma-coded, in order; read a few frames ahead.
            source_look: as for `start`.
            skips: whether the frame of a number, from 0, is a neighbour only and not wanted itself.

        Yields:
            For each frame that is not skipped, with its timestamps: (4H, 4W, 3) float32 RGB in [0, 1].

        Raises:
            DeviceError: memory does not even suffice for the smallest tile, or the requested precision holds no result.
            WeightsError: the network gives no numbers in float32 either.
        """
        size, stream = _sized(frames)
        if size is not None:
            yield from self.start(*size, source_look=source_look).restore(stream, skips=skips)

    def restore_planar(
        self, frames: Iterable[Frame], plane_format: PlaneFormat, *, skips: Callable[[int], bool] = no_frame
    ) -> Generator[PlanarFrame, None, None]:
        """As `restore`, with the frames as an encoder takes them, made on the device."""
        size, stream = _sized(frames)
        if size is not None:
            yield from self.start(*size).restore_planar(stream, plane_format, skips=skips)

    def longer(self, precision: Precision) -> tuple[Precision, WindowRunner]:
        """The network in the next precision after one, other than fp32, whose numbers do not reach far enough."""
        longer = longer_precisions(precision, self.device)[0]
        fused = self.trials[-1].fused if self.trials else None
        return longer, StreamingRunner(self.model, device=self.device, precision=longer, fused=fused)

    def upload(self, image: np.ndarray) -> Tensor:
        """(H, W, 3) RGB array to a (3, H, W) tensor on the device, in the network's colour order."""
        return self.as_rgb(self.transfer.to_device(image).permute(2, 0, 1)).contiguous()

    def as_image(self, restored: Tensor) -> Tensor:
        """(3, H, W) in the network's colour order to (H, W, 3) RGB in [0, 1]."""
        return self.as_rgb(restored).clamp(0, 1).permute(1, 2, 0).contiguous()

    def download(self, restored: Tensor) -> np.ndarray:
        """(3, H, W) tensor to an (H, W, 3) RGB array in [0, 1]."""
        return self.transfer.to_host([self.as_image(restored)])()[0]

    def download_planes(self, restored: Tensor, plane_format: PlaneFormat) -> Planes:
        """(3, H, W) tensor to the planes that an encoder takes."""
        luma, blue, red = self.transfer.to_host(planar_codes(self.as_rgb(restored), plane_format))()
        return luma, blue, red

    def as_rgb(self, image: Tensor) -> Tensor:
        """(3, H, W) from the network's colour order to RGB, or the other way."""
        return image.flip(0) if self.model.colour_order == "bgr" else image


def _sized(frames: Iterable[Frame]) -> tuple[tuple[int, int] | None, Iterator[Frame]]:
    """(height, width) of the first frame, None where there is none, and all frames."""
    stream = iter(frames)
    taken = list(itertools.islice(stream, 1))
    if taken and not isinstance(taken[0], Frame):
        raise OptionError(f"a Restorer takes Frame objects, got {type(taken[0]).__name__}; restore_frames takes arrays")

    def every() -> Iterator[Frame]:
        # `itertools.chain` would keep the first frame to the end.
        while taken:
            yield taken.pop()
        yield from stream

    return taken[0].size if taken else None, every()


def _network(
    engine: str, model: FMANet, device: torch.device, precision: Precision, *, is_free: bool
) -> tuple[WindowRunner, Precision, tuple[Trial, ...]]:
    """The streaming network as it passes the self-check, or the plain one that it is measured against."""
    if engine == "streaming":
        return SelfCheck(model, device).choose(precision, is_free=is_free)
    if engine == "reference":
        return ReferenceRunner(copy.deepcopy(model).eval(), device=device, precision=precision), precision, ()
    raise OptionError(f"engine must be streaming or reference, got {engine!r}")


def _unfused_warnings(device: torch.device, precision: Precision) -> tuple[str, ...]:
    reason = why_not_fused(device, DTYPES[precision]) if device.type == "cuda" else None
    return () if reason is None else (f"slower than it could be, with PyTorch's own kernels alone: {reason}",)
