"""How fast three sizes are: as `fmanet bench` measures it, with CUDA graphs, and with the small network."""

from __future__ import annotations

import functools
from dataclasses import asdict
from typing import Any

from fmanet_cli.bench.benchmark import Benchmark, BenchSettings
from fmanet_cli.bench.first_contact.contact import Contact, Parts, size_text
from fmanet_cli.bench.first_contact.measuring import built, timed_run
from fmanet_cli.weights.checkpoint import load_model


def parts(contact: Contact) -> Parts:
    """See `Parts`; small frames first, which need least."""
    found: dict[str, Any] = {}
    for size, count in zip(contact.sizes, contact.frames, strict=True):
        found[f"{contact.wide} {size_text(size)}"] = functools.partial(_benched, contact, size, count)
        for name, graphs in ((contact.wide, True), (contact.small, False), (contact.small, True)):
            way = f"{name} {size_text(size)} in memory{', graphs' if graphs else ''}"
            found[way] = functools.partial(_in_memory, contact, name, size, count, graphs=graphs)
    return found


def _benched(contact: Contact, size: tuple[int, int], count: int) -> dict[str, Any]:
    settings = BenchSettings(
        model=contact.wide, sizes=(size,), device=str(contact.device), frames=count, compiled="off"
    )
    bench = Benchmark(settings)
    for _ in bench.run():
        pass
    assert bench.report is not None
    return asdict(bench.report.sizes[size_text(size)]) | {"matrix_peak": asdict(bench.report.matrix_peak)}


def _in_memory(contact: Contact, name: str, size: tuple[int, int], count: int, *, graphs: bool) -> dict[str, Any]:
    return timed_run(built(load_model(name), contact, graphs=graphs), size, count=count)
