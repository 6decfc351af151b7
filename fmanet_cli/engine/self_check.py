"""Whether a device computes what the CPU computes: a small made-up window through both, before any film."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fmanet_cli.engine.device import DTYPES, Precision, longer_precisions
from fmanet_cli.engine.device_errors import in_one_line, is_lost, is_out_of_memory
from fmanet_cli.engine.fast.fused import why_not_fused
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.errors import DeviceError, DeviceLostError, WeightsError
from fmanet_cli.model.fmanet import FMANet

LEAST_DECIBELS = 40.0
"""Below it a device computes wrongly. bfloat16, the shortest precision, reaches more than 60 dB with `lite`."""

_HEIGHT, _WIDTH = 24, 32

Build = Callable[[torch.device, Precision, bool], StreamingRunner]
"""Makes the network for a device, in a precision, with fused kernels or without."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One way of computing, tried on a device."""

    precision: Precision
    """What the network computed in."""
    fused: bool
    """Whether Triton kernels took part."""
    decibels: float | None
    """PSNR against float32 on the CPU; infinite where all is equal, None where there was no frame to compare."""
    reason: str = ""
    """What the device said where there was none."""

    @property
    def is_passed(self) -> bool:
        """Whether films may be computed so."""
        return self.decibels is not None and self.decibels >= LEAST_DECIBELS

    def __str__(self) -> str:
        kernels = " with fused kernels" if self.fused else ""
        result = f"{self.decibels:.1f} dB" if self.decibels is not None else self.reason
        return f"{self.precision}{kernels}: {result}"


class SelfCheck:
    """Tries ways of computing one network on one device."""

    def __init__(self, model: FMANet, device: torch.device, *, build: Build | None = None) -> None:
        """`build`: how the network is made; None = as a run has it."""
        self._model, self._device = model, device
        self._build = build or functools.partial(_build, model)

    def choose(self, precision: Precision, *, is_free: bool) -> tuple[StreamingRunner, Precision, tuple[Trial, ...]]:
        """The network in the first way that passes: with fused kernels, without, then in longer precisions.

        Args:
            precision: to begin with.
            is_free: whether another precision may be taken.

        Returns:
            The network, its precision, and every trial in order; the last one passed. None is needed on a CPU.

        Raises:
            DeviceError: no way passes, or memory does not suffice.
            WeightsError: the network gives no numbers in float32 on the CPU.
        """
        if self._device.type == "cpu":
            return self._build(self._device, precision, False), precision, ()
        trials: list[Trial] = []
        for chosen in (precision, *(longer_precisions(precision, self._device) if is_free else ())):
            can_fuse = why_not_fused(self._device, DTYPES[chosen]) is None
            for fused in (True, False) if can_fuse else (False,):
                runner, trial = self.attempt(chosen, fused)
                trials.append(trial)
                if runner is not None and trial.is_passed:
                    return runner, chosen, tuple(trials)
        tried = ", ".join(map(str, trials))
        raise DeviceError(
            f"{self._device} computes wrongly (against the CPU {tried}); update its driver and torch, or use the "
            "device cpu"
        )

    def every_way(self) -> tuple[Trial, ...]:
        """A trial of each precision that the device has, with fused kernels where there are any and without.

        Raises:
            DeviceError: memory does not suffice, or the device is lost.
        """
        precisions: list[Precision] = ["fp16", *longer_precisions("fp16", self._device)]
        return tuple(
            self.attempt(precision, fused)[1]
            for precision in precisions
            for fused in (True, False)
            if not fused or why_not_fused(self._device, DTYPES[precision]) is None
        )

    def attempt(self, precision: Precision, fused: bool) -> tuple[StreamingRunner | None, Trial]:
        """Compute in one way and compare; return the network where there was a frame.

        Raises:
            DeviceError: memory does not suffice.
            DeviceLostError: nothing more can be computed on the device.
        """
        expected = self._expected
        try:
            runner = self._build(self._device, precision, fused)
            found = _restored(runner, self._device).cpu()
        except Exception as error:  # Whatever a device reports here, there may be another way.
            # A window this small needs no workspace that could be missing: then the kernel itself is.
            if is_out_of_memory(error) and "unable to find an engine" not in str(error):
                raise DeviceError(
                    f"not enough memory on {self._device} for the network ({in_one_line(error)}); close other "
                    "programs, or use another device"
                ) from error
            if is_lost(self._device):
                raise DeviceLostError(f"{self._device} is lost ({in_one_line(error)}); use the device cpu") from error
            return None, Trial(precision, fused, None, in_one_line(error))
        if not found.isfinite().all():
            return runner, Trial(precision, fused, None, "values that are no numbers")
        return runner, Trial(precision, fused, _decibels(found, expected))

    @functools.cached_property
    def _expected(self) -> Tensor:
        cpu = torch.device("cpu")
        expected = _restored(_build(self._model, cpu, "fp32", False), cpu)
        if not expected.isfinite().all():
            raise WeightsError("the network gives values that are no numbers in fp32: its weights overflow")
        return expected


def _build(model: FMANet, device: torch.device, precision: Precision, fused: bool) -> StreamingRunner:
    return StreamingRunner(model, device=device, precision=precision, fused=fused)


def _restored(runner: StreamingRunner, device: torch.device) -> Tensor:
    """(3, 4H, 4W): the network's centre frame of a pattern that moves by a pixel a frame, and has noise on it."""
    rows = torch.arange(_HEIGHT).view(-1, 1) / 5
    columns = torch.arange(_WIDTH) / 4
    noise = torch.rand(3, _HEIGHT, _WIDTH, generator=torch.Generator().manual_seed(5)) / 10
    colours = torch.tensor([1.0, 1.6, 2.3]).view(3, 1, 1)
    count = runner.num_frames
    frames = [0.45 + 0.4 * torch.sin(colours * (columns - time / 4) + rows) + noise for time in range(count)]
    return runner.window([runner.frame_state(_placed(frame.clamp(0, 1), device)) for frame in frames])


def _placed(frame: Tensor, device: torch.device) -> Tensor:
    return frame.to(device)


def _decibels(found: Tensor, expected: Tensor) -> float:
    noise = float((found.clamp(0, 1) - expected.clamp(0, 1)).square().mean())
    return -10 * math.log10(noise) if noise else math.inf


def fallback_warnings(device: torch.device, trials: Sequence[Trial]) -> tuple[str, ...]:
    """What a user should know of trials that did not pass before the last one did."""
    failed = [str(trial) for trial in trials if not trial.is_passed]
    if not failed:
        return ()
    last = trials[-1]
    way = f"{last.precision}{' with' if last.fused else ' without'} fused kernels"
    return (f"{device} fails the self-check ({', '.join(failed)}): going on in {way}",)
