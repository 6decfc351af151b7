"""Peak memory of the network, measured in a process of its own.

`python -m fmanet_cli.bench.memory_probe` with a `ProbeRequest` as JSON is that process.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from fmanet_cli.bench.synthetic import synthetic_frames
from fmanet_cli.engine.device_errors import is_out_of_memory
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import DeviceError
from fmanet_cli.weights.checkpoint import load_model

_WINDOWS = 2
_STATUS = Path("/proc/self/status")
_RESET_PEAK = Path("/proc/self/clear_refs")
_OUT_OF_MEMORY_SCORE = Path("/proc/self/oom_score_adj")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRequest:
    """What to run."""

    model: str
    """Name or path of the weights."""
    device: str
    """`cpu`, `cuda`, `cuda:N` or `mps`."""
    precision: str
    """`fp32`, `fp16` or `bf16`."""
    engine: str
    """`streaming` or `reference`."""
    compiled: str
    """`auto`, `on` or `off`: whether it runs as CUDA graphs."""
    height: int
    """Of the input, in pixels."""
    width: int
    """Of the input, in pixels."""
    threads: int
    """CPU threads."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What became of it."""

    fits: bool
    """Whether whole frames could be computed."""
    peak_memory_bytes: int | None
    """CPU: growth of the resident memory from the loaded weights to the peak. CUDA: most bytes in tensors, weights
    included. None where it did not fit or the system does not tell."""
    reserved_bytes: int | None = None
    """What torch held of the device at most, for tensors and unused; None on other devices than CUDA."""


def probe_memory(request: ProbeRequest) -> ProbeResult:
    """Run the request in a fresh process, so that nothing else counts.

    Raises:
        DeviceError: the process failed for another reason than memory.
    """
    command = [sys.executable, "-m", "fmanet_cli.bench.memory_probe", json.dumps(asdict(request))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == -getattr(signal, "SIGKILL", 9):
        return ProbeResult(fits=False, peak_memory_bytes=None)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise DeviceError(f"the memory of {request.width}x{request.height} could not be measured: {reason}")
    return ProbeResult(**json.loads(done.stdout.splitlines()[-1]))


def run_probe(request: ProbeRequest) -> ProbeResult:
    """Restore a few frames as a run does, and read the peak; for a process that does nothing else."""
    torch.set_num_threads(request.threads)
    model = load_model(request.model)
    on_cpu = request.device == "cpu"
    start = _resident_bytes() if on_cpu else None
    try:
        restorer = Restorer(
            model,
            device=request.device,
            precision=request.precision,
            tile=0,
            engine=request.engine,
            compiled=request.compiled,
        )
        fits = _restores_whole(restorer, request.height, request.width)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fits = False
    if not fits:
        return ProbeResult(fits=False, peak_memory_bytes=None)
    if on_cpu:
        return ProbeResult(fits=True, peak_memory_bytes=None if start is None else _peak_bytes() - start)
    if restorer.device.type != "cuda":
        return ProbeResult(fits=True, peak_memory_bytes=None)
    reserved = torch.cuda.max_memory_reserved(restorer.device)
    return ProbeResult(True, torch.cuda.max_memory_allocated(restorer.device), reserved)


def _restores_whole(restorer: Restorer, height: int, width: int) -> bool:
    """Whether a few whole frames, not tiles, were restored."""
    config = restorer.model.config
    frames = synthetic_frames(height, width, count=config.num_frames + _WINDOWS)
    run = restorer.start(height, width)
    try:
        # No more windows than it takes to use every buffer again: the plain network needs a minute for each.
        with contextlib.closing(run.restore(frames, skips=lambda number: number < config.centre)) as restored:
            for _ in itertools.islice(restored, _WINDOWS):
                pass
    except DeviceError:
        return False
    return run.tiling.size == 0


def _resident_bytes() -> int | None:
    """Resident memory now, with the peak set back to it; None where the system cannot do both (other than Linux).

    The peak of `resource.getrusage` does not serve: a new process inherits it from the one that started it.
    """
    try:
        _RESET_PEAK.write_text("5")
        return _status_bytes("VmRSS")
    except OSError:
        return None


def _peak_bytes() -> int:
    return _status_bytes("VmHWM")


def _status_bytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {field}")


def main() -> None:
    """Run the request of the command line and write the result as JSON on standard output."""
    # When memory runs out, the system should end this process, and not the one that waits for its figures or any other.
    with contextlib.suppress(OSError):
        _OUT_OF_MEMORY_SCORE.write_text("1000")
    result = run_probe(ProbeRequest(**json.loads(sys.argv[1])))
    sys.stdout.write(json.dumps(asdict(result)) + "\n")


if __name__ == "__main__":
    main()
