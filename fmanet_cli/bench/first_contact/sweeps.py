"""One choice changed at a time: bytes of a strip, windows in a pass, channels rounded up, cuDNN's own search."""

from __future__ import annotations

import functools
from typing import Any

import torch

from fmanet_cli.bench.first_contact.contact import Contact, Parts, size_text
from fmanet_cli.bench.first_contact.measuring import built, timed_run
from fmanet_cli.weights.checkpoint import load_model

STRIP_MEGABYTES = (16, 64, 256, 1024)
PASSES = (1, 2, 4, 8)
MULTIPLES = (1, 8, 16)
_FRAMES = {"large": 3, "small": 24}


def parts(contact: Contact) -> Parts:
    """See `Parts`; each figure is to be read beside its neighbours."""
    small, middle, large = contact.sizes
    found: dict[str, Any] = {}
    timed = functools.partial(functools.partial, _timed, contact)
    for count in PASSES:
        found[f"{contact.small} {size_text(small)}, {count} in a pass"] = timed(contact.small, small, pass_size=count)
    for multiple in MULTIPLES:
        name = f"{contact.wide} {size_text(small)}, channels to {multiple}"
        found[name] = timed(contact.wide, small, channel_multiple=multiple)
    for search in (False, True):
        name = f"{contact.wide} {size_text(middle)}, cuDNN's search {'on' if search else 'off'}"
        found[name] = timed(contact.wide, middle, search=search)
    for megabytes in STRIP_MEGABYTES:
        for graphs in (False, True):
            name = f"{contact.wide} {size_text(large)}, strips of {megabytes} MiB{', graphs' if graphs else ''}"
            found[name] = timed(contact.wide, large, graphs=graphs, strip_bytes=megabytes << 20)
    return found


def _timed(
    contact: Contact,
    name: str,
    size: tuple[int, int],
    *,
    pass_size: int | None = None,
    search: bool = False,
    graphs: bool = False,
    **options: Any,
) -> dict[str, Any]:
    restorer = built(load_model(name), contact, graphs=graphs, **options)
    count = _FRAMES["small" if size == contact.sizes[0] and not contact.is_rehearsal else "large"]
    cudnn = torch.backends.cudnn
    # What this switches is the process's, and every step has a process of its own.
    cudnn.benchmark = search
    try:
        return timed_run(restorer, size, count=count, pass_size=pass_size)
    finally:
        cudnn.benchmark = False
