"""Options that share a film among several devices, processes or machines."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from fmanet_cli.cli.options import Command, decorated
from fmanet_cli.errors import OptionError

if TYPE_CHECKING:
    from fmanet_cli.engine.restorer import Restorer
    from fmanet_cli.restore.span_pool import SpanPool
    from fmanet_cli.restore.workers import Worker

_CORES_A_WORKER = 2
"""One process keeps two cores busy by itself: it computes two windows side by side."""


def worker_options(command: Command) -> Command:
    """--workers, --ray, --ship and --cpus-per-worker."""
    return decorated(
        command,
        click.option(
            "--workers",
            metavar="N|auto",
            default=None,
            help="Processes that share each film; auto = one a device, or one for every two cores.  [default: 1]",
        ),
        click.option(
            "--ray",
            "ray_address",
            metavar="auto|HOST:PORT",
            default=None,
            help="Share each film on a Ray cluster; auto = the one that this machine belongs to.",
        ),
        click.option("--ship", is_flag=True, help="Send films to Ray's machines and segments back: no shared disk."),
        click.option(
            "--cpus-per-worker",
            type=click.IntRange(min=1),
            metavar="N",
            default=None,
            help="Cores of each of Ray's workers.  [default: 2; 1 beside a GPU]",
        ),
    )


def build_pool(restorer: Restorer, options: dict[str, Any]) -> SpanPool | None:
    """The workers that were asked for; None where this process does the work itself.

    Args:
        restorer: the network and how it computes.
        options: the values of `worker_options`, and the names of the devices that were asked for as `devices`.
    """
    from fmanet_cli.restore.span_pool import SpanPool
    from fmanet_cli.restore.workers import ProcessWorker

    devices, workers = options["devices"], options["workers"]
    if options["ray_address"] is not None:
        return _ray_pool(restorer, options)
    for name in ("ship", "cpus_per_worker"):
        if options[name]:
            raise OptionError(f"{name.replace('_', ' ')} is of a Ray cluster; give its address too", remedy="ray=auto")
    count = _count(restorer, devices, workers)
    if count == 1:
        return None
    starters: list[Callable[[], Worker]] = []
    for number in range(count):
        setup = _setup(restorer, devices[number % len(devices)], count)
        starters.append(functools.partial(ProcessWorker, setup))
    return SpanPool(starters)


def _ray_pool(restorer: Restorer, options: dict[str, Any]) -> SpanPool:
    from fmanet_cli.restore.ray_cluster import RayCluster
    from fmanet_cli.restore.span_pool import SpanPool

    devices, workers = options["devices"], options["workers"]
    if len(devices) > 1:
        raise OptionError(f"Ray chooses the cards itself; give no device, or cpu or cuda, got {', '.join(devices)}")
    count = None if workers in (None, "auto") else _count(restorer, devices, workers)
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(RayCluster(options["ray_address"]))
        on_gpus = devices[0].startswith("cuda") or (devices[0] == "auto" and cluster.has_gpus())
        cpus = options["cpus_per_worker"] or (1 if on_gpus else _CORES_A_WORKER)
        setup = replace(
            _setup(restorer, devices[0], 1), device="cuda" if on_gpus else "cpu", threads=0 if on_gpus else cpus
        )
        starters = cluster.starters(setup, cpus=cpus, ships=options["ship"], count=count)
        engine = {"device": setup.device, "precision": setup.precision} if on_gpus else {}
        return SpanPool(starters, engine=engine, end=stack.pop_all().close)


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
