"""Restores the files named on standard input, the network replaced by plain upscaling; one line of JSON for each.

Run as a program, so that a crash, a hang or a full memory is seen from outside.
"""

from __future__ import annotations

import gc
import json
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import FmanetError
from fmanet_cli.model.config import FMANetConfig
from fmanet_cli.model.fmanet import random_model
from fmanet_cli.restore.job import RestoreJob
from fmanet_cli.restore.settings import RestoreSettings
from support.plain_upscaling import PlainUpscaling

ADDRESS_SPACE_BYTES = 8 << 30
"""What a run away from all limits may take before the system refuses; far above the limit that is checked."""


def plain_restorer() -> Restorer:
    sizes = {"num_rdbs": 1, "growth": 4, "num_dense_layers": 2, "num_flows": 2, "num_frma_blocks": 1}
    attention = {"num_attention_blocks": 1, "num_heads": 2, "ffn_expansion": 1.5}
    kernels = {"degradation_kernel_size": 4, "restoration_kernel_size": 3}
    config = FMANetConfig(dim=6, **sizes, **attention, **kernels)
    return Restorer(random_model(config, seed=3), device="cpu", precision="fp32", runner=PlainUpscaling())


def reset_peak_memory() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def run_one(source: str, restorer: Restorer, settings: RestoreSettings, most_frames: int | None) -> dict[str, Any]:
    """What became of one file: `outcome`, `message`, `frames`, `problems`, `left` behind, seconds and peak memory."""
    folder = Path(tempfile.mkdtemp())
    target = folder / "restored.mkv"
    # What an earlier file left to the garbage collector is not this one's.
    gc.collect()
    reset_peak_memory()
    began = time.perf_counter()
    found: dict[str, Any] = {"source": Path(source).name, "message": "", "frames": 0, "warnings": []}
    job = RestoreJob(source, target, restorer, settings=settings)
    try:
        for progress in job.run():
            found["frames"] = progress.frames_done
            if most_frames is not None and progress.frames_done >= most_frames:
                break
        found["outcome"] = "restored" if job.report is not None else "stopped"
        if job.report is not None:
            found["warnings"] = list(job.report.warnings)
    except FmanetError as error:
        found.update(outcome="refused", message=str(error), kind=type(error).__name__)
    except BaseException as error:
        found.update(outcome="failed", message=f"{type(error).__name__}: {error}")
    found["has_target"] = target.exists()
    found["left"] = sorted(p.name for p in folder.iterdir() if p != target and str(p) not in found["message"])
    found.update(seconds=time.perf_counter() - began, peak_bytes=peak_memory_bytes())
    shutil.rmtree(folder)
    return found


def main() -> None:
    """Read lines of `stop` or `continue`, a tab and a path; with the arguments END and FRAMES, one piped video.

    END in seconds and the number of FRAMES after which the run is given up; 0 = without end.
    """
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    restorer = plain_restorer()
    if len(sys.argv) > 1:
        settings = RestoreSettings(end_seconds=float(sys.argv[1]) or None)
        answer(run_one("-", restorer, settings, int(sys.argv[2]) or None))
        return
    for line in sys.stdin:
        on_error, source = line.rstrip("\n").split("\t")
        answer(run_one(source, restorer, RestoreSettings(on_error=on_error), None))


def answer(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
