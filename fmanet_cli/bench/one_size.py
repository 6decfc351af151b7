"""Speed, memory and arithmetic of the network at one size."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch

from fmanet_cli.bench.matrix_peak import MatrixPeak
from fmanet_cli.bench.memory_probe import ProbeRequest, ProbeResult, probe_memory
from fmanet_cli.bench.steps import (
    ModelSteps,
    StageSeconds,
    StepSeconds,
    difference,
    encoder_planes,
    median_stages,
    timed_decode,
    timed_encode,
    timed_stream,
)
from fmanet_cli.bench.synthetic import write_synthetic_clip
from fmanet_cli.engine.device import Precision
from fmanet_cli.engine.device_errors import is_out_of_memory
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import DeviceError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.job import RestoreJob
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.video.pixels.colour import ImageOrPlanes, PlaneFormat

LEAST_PAIRS = 2
_REFERENCE_SECONDS = 30.0
"""No further pair is begun after so long in the plain network."""

_KEPT_IMAGES = 4
"""Decoded frames that the network gets in turn, and restored ones that the encoder gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceReport:
    """The plain network: whole windows, three-dimensional convolutions, fp32."""

    seconds_per_frame: float | None
    """Median over its windows, without files; None where it does not fit into memory."""
    macs_per_pixel: float | None
    """Multiply-adds per input pixel of a window."""
    peak_memory_bytes: int | None
    """See `ProbeResult`; None where it does not fit or was not told."""
    pairs: int
    """Steps run in turn with ours."""
    psnr: float | None
    """dB of our frames against its frames, in [0, 1]; None where they are equal or there is no pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeReport:
    """What was measured at one size; None = not measured."""

    fps: float
    """Frames per second from file to file."""
    seconds_per_frame: float
    """Its inverse."""
    ratio: float | None
    """Seconds per frame of the plain network over ours, both without files."""
    max_difference: float | None
    """Largest absolute difference to the plain network's frames, before clipping, where 1 is white."""
    macs_per_pixel: float | None
    """Multiply-adds per input pixel of a steady-state step, counted as they ran."""
    peak_memory_bytes: int | None
    """See `ProbeResult`."""
    reserved_memory_bytes: int | None
    """See `ProbeResult`."""
    stages: StageSeconds
    """Seconds per frame, one stage at a time."""
    frames: int
    """Frames of the clip and steps timed."""
    model_seconds_per_frame: float
    """Of a run over frames in memory, several windows at a time where a run does that."""
    end_to_end_share: float
    """Seconds of the network over seconds from file to file; 1 = nothing else costs time."""
    macs_per_second: float | None
    """Multiply-adds per second while the network runs."""
    share_of_matrix_peak: float | None
    """That over the device's better matrix peak."""
    reference: ReferenceReport | None
    """None without `against`."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Subject:
    """What is measured at every size."""

    model: FMANet
    """The network."""
    name: str
    """What `load_model` finds it by."""
    device: torch.device
    """Where it runs."""
    precision: Precision
    """In which precision."""
    compiled: str
    """`auto`, `on` or `off`: whether it runs as CUDA graphs."""
    frames: int
    """Length of the clip and number of timed steps."""
    paired: bool
    """Whether the plain network runs beside it."""


class SizeBench:
    """Measures one size; `run` yields a word before every part, then `report` gives the figures."""

    def __init__(self, subject: Subject, height: int, width: int) -> None:
        self._subject, self._height, self._width = subject, height, width
        self._steps: list[StepSeconds] = []
        self._pairs: list[_Pair] = []
        self._macs: float | None = None
        self._reference_macs: float | None = None

    @staticmethod
    def parts(subject: Subject) -> int:
        """How often `run` yields."""
        return 5 + subject.paired + 2 * subject.frames

    def run(self) -> Iterator[str]:
        """Raise DeviceError where whole frames do not fit into memory."""
        yield "memory"
        self._memory = self._probe("streaming", self._subject.precision, compiled=self._subject.compiled)
        if not self._memory.fits:
            raise self._too_large()
        self._reference_memory: ProbeResult | None = None
        if self._subject.paired:
            yield "memory of the plain network"
            self._reference_memory = self._probe("reference", "fp32")
        try:
            yield from self._run_timed()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise self._too_large() from error

    def _too_large(self) -> DeviceError:
        return DeviceError(
            f"whole frames of {self._width}x{self._height} do not fit into the memory of {self._subject.device}; "
            "leave this size out"
        )

    def _run_timed(self) -> Iterator[str]:
        """Everything but the memory."""
        subject = self._subject
        with tempfile.TemporaryDirectory(prefix="fmanet-bench-") as folder:
            clip, target = Path(folder, "clip.mp4"), Path(folder, "restored.mp4")
            yield "decode"
            like = write_synthetic_clip(clip, height=self._height, width=self._width, count=subject.frames)
            self._decode, frames = timed_decode(clip, keep=_KEPT_IMAGES)
            restorer = self._restorer()
            plane_format = encoder_planes(target, like=like, scale=restorer.scale)
            restored: list[ImageOrPlanes] = []
            yield from self._run_steps(restorer, [frame.image for frame in frames], plane_format, restored)
            yield "frames in memory"
            self._stream_seconds = timed_stream(restorer, frames, plane_format, count=subject.frames)
            yield "encode"
            self._encode = timed_encode(target, restored, like=like, scale=restorer.scale, count=subject.frames)
            del restored
            yield from self._run_whole(clip, target, restorer)

    def _probe(self, engine: str, precision: Precision, *, compiled: str = "off") -> ProbeResult:
        return probe_memory(
            ProbeRequest(
                model=self._subject.name,
                device=str(self._subject.device),
                precision=precision,
                engine=engine,
                compiled=compiled,
                height=self._height,
                width=self._width,
                threads=torch.get_num_threads(),
            )
        )

    def _run_steps(
        self,
        restorer: Restorer,
        images: list[np.ndarray],
        plane_format: PlaneFormat | None,
        restored: list[ImageOrPlanes],
    ) -> Iterator[str]:
        """Time the network step by step, the plain one in turn with it; keep a few frames in `restored`."""
        yield "first step"
        ours, reference = ModelSteps(restorer, images, plane_format=plane_format), self._reference_steps(images)
        self._macs = _warm_up(ours, restorer.device)
        if reference is not None:
            self._reference_macs = _warm_up(reference, restorer.device)
        for index in range(self._subject.frames):
            yield f"step {index + 1} of {self._subject.frames}"
            self._steps.append(ours.step())
            assert ours.image is not None
            if len(restored) < _KEPT_IMAGES:
                restored.append(ours.image)
            spent = sum(pair.reference_seconds for pair in self._pairs)
            if reference is not None and (len(self._pairs) < LEAST_PAIRS or spent < _REFERENCE_SECONDS):
                self._pairs.append(_pair(ours, reference))

    def _restorer(self) -> Restorer:
        subject = self._subject
        return Restorer(
            subject.model, device=str(subject.device), precision=subject.precision, tile=0, compiled=subject.compiled
        )

    def _reference_steps(self, images: list[np.ndarray]) -> ModelSteps | None:
        """None where it is not asked for or does not fit."""
        if self._reference_memory is None or not self._reference_memory.fits:
            return None
        device = str(self._subject.device)
        restorer = Restorer(
            self._subject.model, device=device, precision="fp32", tile=0, engine="reference", compiled="off"
        )
        return ModelSteps(restorer, images)

    def _run_whole(self, clip: Path, target: Path, restorer: Restorer) -> Iterator[str]:
        """From file to file, as `fmanet restore` does it.

        The finished file is not held against its source: frames of a network that was never trained are not alike.
        """
        target.unlink()
        job = RestoreJob(clip, target, restorer, settings=RestoreSettings(verify=False))
        for progress in job.run():
            if progress.frames_done < self._subject.frames:
                yield f"file to file, frame {progress.frames_done + 1} of {self._subject.frames}"
        assert job.report is not None
        if job.report.tiling.size:
            raise self._too_large()
        self._whole_seconds = job.report.seconds

    def report(self, peak: MatrixPeak) -> SizeReport:
        """The figures, after `run`."""
        stages = median_stages(self._steps, decode=self._decode, encode=self._encode)
        seconds = self._whole_seconds / self._subject.frames
        model_seconds = self._stream_seconds
        reference = self._reference_report()
        plain_seconds = None if reference is None else reference.seconds_per_frame
        rate = None if self._macs is None else self._macs * self._height * self._width / model_seconds
        return SizeReport(
            fps=1 / seconds,
            seconds_per_frame=seconds,
            ratio=None if plain_seconds is None else plain_seconds / model_seconds,
            max_difference=max((pair.max_difference for pair in self._pairs), default=None),
            macs_per_pixel=self._macs,
            peak_memory_bytes=self._memory.peak_memory_bytes,
            reserved_memory_bytes=self._memory.reserved_bytes,
            stages=stages,
            frames=self._subject.frames,
            model_seconds_per_frame=model_seconds,
            end_to_end_share=model_seconds / seconds,
            macs_per_second=rate,
            share_of_matrix_peak=None if rate is None else rate / peak.best_macs_per_second,
            reference=reference,
        )

    def _reference_report(self) -> ReferenceReport | None:
        if self._reference_memory is None:
            return None
        square = mean(pair.mean_square for pair in self._pairs) if self._pairs else 0.0
        return ReferenceReport(
            seconds_per_frame=median(pair.reference_seconds for pair in self._pairs) if self._pairs else None,
            macs_per_pixel=self._reference_macs,
            peak_memory_bytes=self._reference_memory.peak_memory_bytes,
            pairs=len(self._pairs),
            psnr=-10 * math.log10(square) if square else None,
        )


@dataclass(frozen=True, slots=True)
class _Pair:
    """One step of both networks on the same frames."""

    reference_seconds: float
    max_difference: float
    mean_square: float


def _pair(ours: ModelSteps, reference: ModelSteps) -> _Pair:
    """Step the plain network after ours and compare."""
    reference_seconds = reference.step().model
    assert ours.restored is not None
    assert reference.restored is not None
    return _Pair(reference_seconds, *difference(ours.restored, reference.restored))


def _warm_up(steps: ModelSteps, device: torch.device) -> float | None:
    """Multiply-adds per pixel, counted in a step that is not timed."""
    counted = steps.count()
    if device.type != "cpu":
        # Kernels are chosen, compiled and recorded in the first step.
        steps.step()
    return counted
