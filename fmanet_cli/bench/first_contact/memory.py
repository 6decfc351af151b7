"""What memory frames take, beside what was planned for them."""

from __future__ import annotations

import functools
from typing import Any

import torch

from fmanet_cli.bench.first_contact.contact import Contact, Parts, size_text
from fmanet_cli.bench.memory_probe import ProbeRequest, ProbeResult, probe_memory
from fmanet_cli.engine.memory import bytes_per_pixel, free_memory, workspace_bytes
from fmanet_cli.weights.checkpoint import load_model

_TELEVISION = (576, 768)


def parts(contact: Contact) -> Parts:
    """See `Parts`."""
    small, middle, large = contact.sizes
    sizes = (small, middle if contact.is_rehearsal else _TELEVISION, large)
    found = {
        f"{contact.wide} {size_text(size)}": functools.partial(_held, contact, contact.wide, size) for size in sizes
    }
    found[f"{contact.small} {size_text(small)}"] = functools.partial(_held, contact, contact.small, small)
    return found


def _held(contact: Contact, name: str, size: tuple[int, int]) -> dict[str, Any]:
    measured = probed(contact, name, size)
    config, device = load_model(name).config, contact.device
    planned = size[0] * size[1] * bytes_per_pixel(config, contact.precision, device=device) + workspace_bytes(device)
    found: dict[str, Any] = {
        "peak_memory_bytes": measured.peak_memory_bytes,
        "reserved_bytes": measured.reserved_bytes,
        "planned_bytes": round(planned),
        "free_bytes": free_memory(device),
    }
    if not measured.fits:
        return found | {"wrong": "whole frames do not fit"}
    if measured.peak_memory_bytes is None:
        return found | {"left out": "the system does not tell"}
    found["share_of_plan"] = measured.peak_memory_bytes / planned
    return found | ({"wrong": "more than was planned"} if found["share_of_plan"] > 1 else {})


def probed(contact: Contact, name: str, size: tuple[int, int]) -> ProbeResult:
    """What a fresh process takes for whole frames of (height, width)."""
    return probe_memory(
        ProbeRequest(
            model=name,
            device=str(contact.device),
            precision=contact.precision,
            engine="streaming",
            compiled="off",
            height=size[0],
            width=size[1],
            threads=torch.get_num_threads(),
        )
    )
