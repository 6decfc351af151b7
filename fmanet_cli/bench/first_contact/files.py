"""Files that the device restored, against those of the CPU in float32, decoded and compared."""

from __future__ import annotations

import functools
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import fmanet_cli
from fmanet_cli.bench.first_contact.contact import Contact, Parts, size_text
from fmanet_cli.bench.synthetic import write_synthetic_clip
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.self_check import LEAST_DECIBELS
from fmanet_cli.restore.job import restore_video
from fmanet_cli.restore.outcome import RestoreReport
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.codecs import EncoderOptions
from fmanet_cli.weights.checkpoint import load_model

_EXAMPLE = Path(fmanet_cli.__file__).parents[1] / "examples/street.mp4"
_MADE_SIZE, _FRAMES = (64, 96), 4
_EXAMPLE_SECONDS = 0.3


def parts(contact: Contact) -> Parts:
    """See `Parts`."""
    found = {
        f"{name}, made clip of {size_text(_MADE_SIZE)}": functools.partial(_compared, contact, name, None)
        for name in (contact.small, contact.wide)
    }
    if _EXAMPLE.exists() and not contact.is_rehearsal:
        found[f"{contact.small}, example"] = functools.partial(_compared, contact, contact.small, _EXAMPLE)
    return found


def _compared(contact: Contact, name: str, source: Path | None) -> dict[str, Any]:
    # Frames of a network that was never trained are not alike.
    settings = RestoreSettings(
        encoder=EncoderOptions(codec="ffv1"), verify=False, end_seconds=None if source is None else _EXAMPLE_SECONDS
    )
    model = load_model(name)
    with tempfile.TemporaryDirectory(prefix="fmanet-contact-") as folder:
        if source is None:
            source = Path(folder, "clip.mp4")
            write_synthetic_clip(source, height=_MADE_SIZE[0], width=_MADE_SIZE[1], count=_FRAMES)
        targets = Path(folder, "device.mkv"), Path(folder, "cpu.mkv")
        on_device = restore_video(source, targets[0], Restorer(model, device=str(contact.device)), settings=settings)
        on_cpu = restore_video(source, targets[1], Restorer(model, device="cpu", precision="fp32"), settings=settings)
        decibels = file_decibels(*targets)
    return _judged(decibels, on_device, on_cpu)


def _judged(decibels: float, on_device: RestoreReport, on_cpu: RestoreReport) -> dict[str, Any]:
    found: dict[str, Any] = {
        "decibels": decibels,
        "precision": on_device.precision,
        "frames": on_device.frames,
        "seconds": on_device.seconds,
        "seconds_of_cpu": on_cpu.seconds,
    }
    wrong = list(on_device.warnings)
    if on_device.frames != on_cpu.frames:
        wrong.append(f"{on_cpu.frames} frames from the CPU")
    if decibels < LEAST_DECIBELS:
        wrong.append(f"below {LEAST_DECIBELS:.0f} dB")
    return found | ({"wrong": "; ".join(wrong)} if wrong else {})


def file_decibels(first: Path, second: Path) -> float:
    """PSNR over all frames of two videos of one size, in RGB; infinite where they are equal."""
    squares = []
    with VideoReader(first) as ours, VideoReader(second) as theirs:
        for frame, other in zip(ours, theirs, strict=True):
            squares.append(float(np.square(frame.image - other.image).mean()))
    mean = sum(squares) / len(squares)
    return -10 * math.log10(mean) if mean else math.inf
