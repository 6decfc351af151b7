"""Less memory than a frame needs: every run has to end well, in tiles, or in one line."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import psutil
import torch

from fmanet_cli.bench.first_contact.contact import Contact, Parts, size_text
from fmanet_cli.bench.first_contact.memory import probed
from fmanet_cli.bench.synthetic import synthetic_frames
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import DeviceError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.weights.checkpoint import load_model

SHARES = (0.3, 0.5, 0.7, 0.9)
"""The least first: what a CPU's allocator has had it keeps, and gives it again."""
_FRAMES = 3
_REHEARSED_SIZE = (90, 160)
"""Smaller ones are lost in what the libraries below keep."""


def parts(contact: Contact) -> Parts:
    """See `Parts`."""
    size = _REHEARSED_SIZE if contact.is_rehearsal else contact.sizes[0]
    needed: list[int] = []

    def measure() -> dict[str, Any]:
        peak = probed(contact, contact.wide, size).peak_memory_bytes
        if peak is None:
            return {"left out": "the system does not tell"}
        needed.append(peak)
        return {"peak_memory_bytes": peak}

    def run(share: float) -> dict[str, Any]:
        if not needed:
            return {"left out": "what is needed is not known"}
        return _short(contact, size, int(share * needed[0]))

    found: dict[str, Any] = {f"{contact.wide} {size_text(size)}, all of it": measure}
    for share in SHARES:
        found[f"{contact.wide} {size_text(size)}, {share:.0%}"] = functools.partial(run, share)
    return found


def _short(contact: Contact, size: tuple[int, int], allowed: int) -> dict[str, Any]:
    count = 1 if contact.is_rehearsal else _FRAMES
    model, frames = load_model(contact.wide), list(synthetic_frames(*size, count=count))
    found: dict[str, Any] = {"allowed_bytes": allowed}
    with limited_memory(contact.device, allowed):
        try:
            return found | _restored(model, contact, frames)
        except DeviceError as error:
            # In one line: that is all that may be asked for where nothing fits.
            return found | {"refused": str(error)}


def _restored(model: FMANet, contact: Contact, frames: list[Any]) -> dict[str, Any]:
    restorer = Restorer(model, device=str(contact.device), precision=contact.precision, tile=0, compiled="off")
    run = restorer.start(*frames[0].size)
    # `tile=0` asks for whole frames, so that memory has to run out before tiles are taken.
    count = sum(1 for _ in run.restore(frames))
    found = {"frames": count, "tile": run.tiling.size, "said": "; ".join(run.warnings)}
    return found | ({"wrong": f"{count} frames of {len(frames)}"} if count != len(frames) else {})


@contextlib.contextmanager
def limited_memory(device: torch.device, allowed: int) -> Iterator[None]:
    """Inside, the device gives no more than so many bytes; a CPU so many beyond what the process has of addresses.

    Raises:
        DeviceError: the system cannot do that.
    """
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, allowed / total), device)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, device)
        return
    try:
        import resource

        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + allowed, before[1]))
    except (ImportError, OSError, ValueError) as error:
        raise DeviceError(f"the memory of {device} cannot be limited here ({error}); leave this step out") from error
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
