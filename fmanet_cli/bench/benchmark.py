"""Speed, memory and arithmetic of the network on this machine, size by size."""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from fmanet_cli._version import __version__
from fmanet_cli.bench.matrix_peak import MatrixPeak, measure_matrix_peak
from fmanet_cli.bench.one_size import LEAST_PAIRS, SizeBench, SizeReport, Subject
from fmanet_cli.engine.device import choose_device, choose_precision, free_device_memory
from fmanet_cli.engine.fast.cuda_graphs import check_recordable
from fmanet_cli.errors import OptionError
from fmanet_cli.machine import Machine, describe_machine
from fmanet_cli.weights.checkpoint import load_model

REFERENCE = "reference"
MIN_SIDE = 16
"""Pixels; what every encoder takes."""

DEFAULT_SIZES = {"cuda": ((180, 320), (360, 640), (720, 1280)), "cpu": ((90, 160), (180, 320))}
"""(height, width) of the input by kind of device; other kinds take the CPU's."""

DEFAULT_FRAMES = {"cuda": 120, "cpu": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """What is measured."""

    model: str
    """Name or path of the weights; `random:paper`, `random:lite` and `random:base` need none."""
    sizes: tuple[tuple[int, int], ...] = ()
    """(height, width) of the input; empty = `DEFAULT_SIZES`."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps`."""
    precision: str = "auto"
    """`auto`, `fp32`, `fp16` or `bf16`; the plain network always runs in fp32."""
    compiled: str = "auto"
    """`auto`, `on` or `off`: whether the network runs as CUDA graphs."""
    frames: int | None = None
    """Length of the clip and number of timed steps; None = `DEFAULT_FRAMES`."""
    against: str | None = None
    """`reference` = the plain network in the same run, step by step in turn."""

    def __post_init__(self) -> None:
        if self.against not in (None, REFERENCE):
            raise OptionError(f"against must be {REFERENCE}, got {self.against!r}")
        if self.frames is not None and self.frames < LEAST_PAIRS:
            raise OptionError(f"frames must be at least {LEAST_PAIRS}, got {self.frames}")
        for height, width in self.sizes:
            if min(height, width) < MIN_SIDE:
                raise OptionError(f"a size must be at least {MIN_SIDE}x{MIN_SIDE}, got {width}x{height}")


def parse_size(text: str) -> tuple[int, int]:
    """`WIDTHxHEIGHT` as (height, width).

    Raises:
        OptionError: the text is something else.
    """
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.lower())
    if found is None:
        raise OptionError(f"size must be WIDTHxHEIGHT such as 320x180, got {text!r:.60}")
    return int(found[2]), int(found[1])


@dataclass(frozen=True, slots=True)
class BenchProgress:
    """How far a run is."""

    done: int
    """Parts measured so far."""
    total: int
    """Parts in all."""
    activity: str
    """The part that comes now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchReport:
    """A finished run."""

    machine: Machine
    """Where."""
    fmanet: str
    """Version."""
    torch: str
    """Version."""
    date: str
    """ISO 8601, local time with its offset."""
    model: str
    """Name or path of the weights."""
    device: str
    """Where the network ran."""
    precision: str
    """`fp32`, `fp16` or `bf16`."""
    compiled: str
    """`auto`, `on` or `off`: whether the network was to run as CUDA graphs."""
    matrix_peak: MatrixPeak
    """The ceiling: plain work in this precision."""
    sizes: dict[str, SizeReport]
    """By `WIDTHxHEIGHT`."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Benchmark:
    """Measures every size in turn; `run` yields the progress and leaves the `report`."""

    def __init__(self, settings: BenchSettings) -> None:
        """Raise DeviceError for a device that is missing or cannot do this, WeightsError for missing weights."""
        self.report: BenchReport | None = None
        """Set when the run has ended well."""
        device = choose_device(settings.device)
        if settings.compiled == "on":
            check_recordable(device)
        kind = device.type if device.type in DEFAULT_SIZES else "cpu"
        self._subject = Subject(
            model=load_model(settings.model),
            name=settings.model,
            device=device,
            precision=choose_precision(settings.precision, device),
            compiled=settings.compiled,
            frames=settings.frames or DEFAULT_FRAMES[kind],
            paired=settings.against is not None,
        )
        self._sizes = tuple(dict.fromkeys(settings.sizes or DEFAULT_SIZES[kind]))

    def run(self) -> Iterator[BenchProgress]:
        """Yield before every part.

        Raises:
            DeviceError: whole frames of a size do not fit into memory.
        """
        subject, began = self._subject, time.strftime("%Y-%m-%dT%H:%M:%S%z")
        done, total = 1, 1 + len(self._sizes) * SizeBench.parts(subject)
        yield BenchProgress(0, total, "matrix peak")
        peak = measure_matrix_peak(subject.device, subject.precision)
        # Else small cards would have no room for the processes in which memory is measured.
        free_device_memory(subject.device)
        sizes: dict[str, SizeReport] = {}
        for height, width in self._sizes:
            bench = SizeBench(subject, height, width)
            for activity in bench.run():
                yield BenchProgress(done, total, f"{width}x{height} {activity}")
                done += 1
            sizes[f"{width}x{height}"] = bench.report(peak)
            del bench
            gc.collect()
            free_device_memory(subject.device)
        yield BenchProgress(done, total, "done")
        self.report = BenchReport(
            machine=describe_machine(subject.device),
            fmanet=__version__,
            torch=torch.__version__,
            date=began,
            model=subject.name,
            device=str(subject.device),
            precision=subject.precision,
            compiled=subject.compiled,
            matrix_peak=peak,
            sizes=sizes,
        )
