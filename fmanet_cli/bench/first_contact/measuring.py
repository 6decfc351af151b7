"""Networks built in every way, and runs over frames in memory, for the steps of a first contact."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import torch

from fmanet_cli.bench.first_contact.contact import Contact
from fmanet_cli.bench.matrix_peak import synchronize
from fmanet_cli.bench.synthetic import synthetic_frames
from fmanet_cli.engine.fast.cuda_graphs import GraphedRunner
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.runner import WindowRunner
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.video.pixels.colour import Colour, PlaneFormat

PLANES = PlaneFormat(Colour(matrix=1, full_range=False), bits=8, horizontal_shift=1, vertical_shift=1)
"""What most encoders take."""

_KEPT_FRAMES = 4


class RecordedRunner(GraphedRunner):
    """The network as CUDA graphs, whatever the version of torch: a recording that fails costs this process only."""

    def __init__(self, runner: StreamingRunner, device: torch.device) -> None:
        made: dict[str, Any] = {} if device.type == "cuda" else {"record": _ComputedAgain, "new_pool": object}
        super().__init__(runner, device=device, **made)

    @property
    def num_frames(self) -> int:
        """Frames of a window."""
        return self.eager.num_frames


class _ComputedAgain:
    """What a recording does, on a device that has none: for a rehearsal."""

    def __init__(self, compute: Callable[[], Any], _: Any) -> None:
        self._compute, self.outputs = compute, compute()

    def replay(self) -> None:
        self.outputs = self._compute()

    def release(self) -> None:
        self.outputs = None


def built(model: FMANet, contact: Contact, *, graphs: bool = False, **options: Any) -> Restorer:
    """A network for whole frames.

    Args:
        model: the network.
        contact: on which device.
        graphs: as CUDA graphs.
        options: see `StreamingRunner`.
    """
    device = contact.device
    runner: WindowRunner = StreamingRunner(model, device=device, precision=contact.precision, **options)
    if graphs:
        runner = RecordedRunner(runner, device)  # type: ignore[arg-type]
    return Restorer(model, device=str(device), precision=contact.precision, tile=0, compiled="off", runner=runner)


def timed_run(restorer: Restorer, size: tuple[int, int], *, count: int, pass_size: int | None = None) -> dict[str, Any]:
    """Restore frames in memory as a run does, colours and copies included.

    Args:
        restorer: the network.
        size: (height, width).
        count: frames that are timed at least; whole passes are.
        pass_size: windows in a pass; None = as a run decides.

    Returns:
        Seconds a frame, what the run decided, and the peak of the memory in tensors on CUDA.
    """
    frames, device = list(synthetic_frames(*size, count=_KEPT_FRAMES)), restorer.device
    run = restorer.start(*size)
    if pass_size is not None:
        run.pass_size = pass_size
    asked = run.pass_size
    count = -(-count // asked) * asked
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def restore(length: int) -> None:
        for _ in run.restore_planar(itertools.islice(itertools.cycle(frames), length), PLANES):
            pass

    # Kernels are chosen, compiled and recorded.
    restore(2 * asked)
    synchronize(device)
    began = time.perf_counter()
    restore(count)
    synchronize(device)
    seconds = (time.perf_counter() - began) / count
    found: dict[str, Any] = {"seconds_per_frame": seconds, "fps": 1 / seconds, "windows_in_a_pass": run.pass_size}
    if device.type == "cuda":
        found["peak_memory_bytes"] = torch.cuda.max_memory_allocated(device)
        found["reserved_bytes"] = torch.cuda.max_memory_reserved(device)
    if run.tiling.size or run.warnings or run.pass_size != asked:
        found["wrong"] = "; ".join(run.warnings) or f"{run.pass_size} windows in a pass instead of {asked}"
    return found
