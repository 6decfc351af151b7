"""Options that share a film among several devices, processes or machines."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from fmanet_cli.cli.options import Command
from fmanet_cli.errors import OptionError

if TYPE_CHECKING:
    from fmanet_cli.engine.restorer import Restorer
    from fmanet_cli.restore.span_pool import SpanPool
    from fmanet_cli.restore.workers import Worker

_CORES_A_WORKER = 2
"""One process keeps two cores busy by itself: it computes two windows side by side."""


def worker_options(command: Command) -> Command:
    """--workers."""
    return click.option(
        "--workers",
        metavar="N|auto",
        default=None,
        help="Processes that share each film; auto = one a device, or one for every two cores.  [default: 1]",
    )(command)


def build_pool(restorer: Restorer, devices: list[str], workers: str | None) -> SpanPool | None:
    """The workers that were asked for; None where this process does the work itself.

    Args:
        restorer: the network and how it computes.
        devices: names of the devices that were asked for.
        workers: a number, `auto`, or None for one a device.
    """
    from fmanet_cli.restore.span_pool import SpanPool
    from fmanet_cli.restore.workers import ProcessWorker

    count = _count(restorer, devices, workers)
    if count == 1:
        return None
    starters: list[Callable[[], Worker]] = []
    for number in range(count):
        setup = _setup(restorer, devices[number % len(devices)], count)
        starters.append(functools.partial(ProcessWorker, setup))
    return SpanPool(starters)


def _count(restorer: Restorer, devices: list[str], workers: str | None) -> int:
    import torch

    if workers is None:
        return len(devices)
    if workers == "auto":
        on_cpu = restorer.device.type == "cpu"
        return max(1, torch.get_num_threads() // _CORES_A_WORKER) if on_cpu else len(devices)
    if not workers.isascii() or not workers.isdigit() or not 1 <= int(workers[:6]) <= 4096 or len(workers) > 6:
        raise OptionError(f"workers must be auto or a number from 1 to 4096, got {workers!r}")
    if int(workers) < len(devices):
        raise OptionError(f"{len(devices)} devices need as many workers or more, got {workers}")
    return int(workers)


def _setup(restorer: Restorer, device: str, count: int) -> Any:
    import torch

    from fmanet_cli.restore.span_worker import WorkerSetup

    return WorkerSetup(
        model=restorer.model,
        device=device if device != "auto" else str(restorer.device),
        precision="auto" if restorer.precision_is_free else restorer.precision,
        tile="auto" if restorer.tiling.mode == "auto" else restorer.tiling.size,
        tile_overlap=restorer.tiling.overlap,
        threads=max(1, torch.get_num_threads() // count),
    )
