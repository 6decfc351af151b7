"""A film from file to file: which stage the others wait for, and how busy the device is meanwhile."""

from __future__ import annotations

import contextlib
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from fmanet_cli.bench.first_contact.contact import Contact, Parts, size_text
from fmanet_cli.bench.synthetic import write_synthetic_clip
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.restore.job import restore_video
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.restore.stages import WAITING_FOR_DECODER, WAITING_FOR_ENCODER
from fmanet_cli.video.write.codecs import EncoderOptions
from fmanet_cli.video.write.trial import encoder_fault
from fmanet_cli.weights.checkpoint import load_model

CODECS = ("libx264", "hevc_nvenc")
_SAMPLE_MILLISECONDS = 100


def parts(contact: Contact) -> Parts:
    """See `Parts`."""
    found = {}
    size = contact.sizes[0]
    for name in (contact.wide, contact.small):
        for codec in CODECS:
            found[f"{name} {size_text(size)}, {codec}"] = functools.partial(_film, contact, name, size, codec)
    return found


def _film(contact: Contact, name: str, size: tuple[int, int], codec: str) -> dict[str, Any]:
    fault = encoder_fault(codec)
    if fault is not None:
        return {"left out": f"{codec}: {fault}"}
    restorer = Restorer(load_model(name), device=str(contact.device))
    settings = RestoreSettings(encoder=EncoderOptions(codec=codec), verify=False)
    with tempfile.TemporaryDirectory(prefix="fmanet-contact-") as folder:
        source = Path(folder, "clip.mp4")
        write_synthetic_clip(source, height=size[0], width=size[1], count=contact.film_frames)
        with _utilisation(Path(folder, "samples")) as samples:
            report = restore_video(source, Path(folder, "restored.mp4"), restorer, settings=settings)
    waits = {
        stage: report.stage_seconds[stage] / report.seconds for stage in (WAITING_FOR_DECODER, WAITING_FOR_ENCODER)
    }
    found: dict[str, Any] = {
        "fps": report.frames_per_second,
        "seconds": report.seconds,
        "shares_of_time": waits,
        "busy_percent": mean(samples) if samples else None,
        "stage_seconds": report.stage_seconds,
    }
    return found | ({"wrong": "; ".join(report.warnings)} if report.warnings else {})


@contextlib.contextmanager
def _utilisation(path: Path) -> Iterator[list[float]]:
    """Percent of time in which kernels run, sampled by the driver's own program; filled when the block ends."""
    samples: list[float] = []
    if shutil.which("nvidia-smi") is None:
        yield samples
        return
    query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", str(_SAMPLE_MILLISECONDS)]
    with path.open("w") as file:
        process = subprocess.Popen(["nvidia-smi", *query], stdout=file, stderr=subprocess.DEVNULL)
        try:
            yield samples
        finally:
            process.terminate()
            process.wait()
    samples += [float(line) for line in path.read_text().splitlines() if line.strip().isdigit()]
