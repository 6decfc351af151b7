"""Several processes that train one network together, each on its own windows."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from fmanet_cli.errors import TrainingError

_PATIENCE = timedelta(minutes=30)
"""How long processes wait for each other; the first step compiles for minutes."""

_T = TypeVar("_T")


@contextlib.contextmanager
def joined(count: int, work: Callable[[_T], None], argument: _T) -> Iterator[None]:
    """Make this process the first of `count` that train together; the others run `work(argument)` meanwhile.

    Raises `TrainingError` when one of the others fails.
    """
    if count == 1:
        yield
        return
    address = f"tcp://127.0.0.1:{_free_port()}"
    context = mp.get_context("spawn")
    others = [
        context.Process(target=_join, args=(number, count, address, work, argument), daemon=True)
        for number in range(1, count)
    ]
    for process in others:
        process.start()
    try:
        dist.init_process_group("gloo", init_method=address, rank=0, world_size=count, timeout=_PATIENCE)
        yield
    except RuntimeError as error:
        if any(process.exitcode for process in others):
            raise TrainingError(f"one of {count} training processes failed: {error}") from error
        raise
    finally:
        for process in others:
            process.terminate()
            process.join()
        if dist.is_initialized():
            dist.destroy_process_group()


def _join(number: int, count: int, address: str, work: Callable[[_T], None], argument: _T) -> None:
    # Ctrl-C reaches every process of a terminal; the first one saves and ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    dist.init_process_group("gloo", init_method=address, rank=number, world_size=count, timeout=_PATIENCE)
    work(argument)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def replica() -> tuple[int, int]:
    """This process's number and the number of processes; (0, 1) outside of torch.distributed."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def average_gradients(parameters: Sequence[Tensor], told: Sequence[float]) -> list[float]:
    """Replace the gradients by their mean over all processes; return what the first process has `told`, on every one.

    Clocks have to agree, because schedules may follow them, and so has the end. Parameters without a gradient keep
    none.
    """
    number, count = replica()
    if count == 1:
        return list(told)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    news = gradients[0].new_tensor(told if number == 0 else [0.0] * len(told))
    flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), news])
    dist.all_reduce(flat)
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient) / count)
        start += gradient.numel()
    return flat[start:].tolist()


def value_of_first(value: float) -> float:
    """The first process's `value` on every one; all of them have to ask."""
    number, count = replica()
    if count == 1:
        return value
    shared = torch.tensor([value if number == 0 else 0.0], dtype=torch.float64)
    dist.all_reduce(shared)
    return float(shared)
