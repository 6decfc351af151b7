"""Batches made ahead of time, in another process where that helps."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import signal
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fmanet_cli.training.windows import (
    WindowBatch,
    WindowSource,
    batch_generator,
    join_batches,
    map_batch,
    tensors_of,
)

_NICENESS = 5


class Reused:
    """A `WindowSource` that shows every window of another several times, mirrored, turned or reversed in time.

    Making a window costs as much as half a training step on a CPU; a window seen again after many others, in another
    orientation, teaches nearly as much as a new one. A batch takes an equal part from `times` batches of the source.
    """

    def __init__(self, source: WindowSource, *, times: int, spacing: int = 8, seed: int = 0) -> None:
        self.source = source
        self.times = times
        self.spacing = spacing
        self.seed = seed
        self._kept: dict[int, WindowBatch] = {}

    def batch(self, index: int) -> WindowBatch:
        """Batch `index`; the source's batch size must be divisible by `times`."""
        newest, turn = divmod(index, self.times)
        parts = []
        for age in range(self.times):
            # Numbers count up from the oldest, so that the first batches have something to reuse.
            made = self._made(newest + (self.times - 1 - age) * self.spacing)
            part = made.blurry.shape[0] // self.times
            start = part * ((turn + age) % self.times)
            parts.append(map_batch(made, functools.partial(torch.narrow, dim=0, start=start, length=part)))
        generator = batch_generator(self.seed + 1, index)
        return join_batches([_orient(part, generator) for part in parts])

    def _made(self, number: int) -> WindowBatch:
        if number not in self._kept:
            self._kept[number] = self.source.batch(number)
            while len(self._kept) > self.times * self.spacing:
                del self._kept[min(self._kept)]
        return self._kept[number]


class EveryNth:
    """The batches of one of `count` processes that share the batches of `source`; no two make the same windows."""

    def __init__(self, source: WindowSource, number: int, count: int) -> None:
        self.source, self.number, self.count = source, number, count

    def batch(self, index: int) -> WindowBatch:
        """Batch `index` of this process."""
        place = index * self.count + self.number
        return self.source.batch(spread(place, getattr(self.source, "times", 1), self.count))


def prefetch(source: WindowSource, *, start: int, ahead: int = 4, workers: int = 1) -> Iterator[WindowBatch]:
    """Yield batch after batch from number `start` on, made by background processes (`ahead` = 0: in this one).

    Several `workers` change the order, see `spread`; each makes `ahead` batches.
    """
    if ahead == 0:
        # Without end.
        yield from map(source.batch, itertools.count(start))
    times = getattr(source, "times", 1)
    loader = DataLoader(
        _Numbered(source),
        batch_size=None,
        # The loader gives its first number to the first worker, wherever a resumed run starts.
        sampler=(spread(index, times, workers) for index in itertools.count(start)),
        num_workers=workers,
        prefetch_factor=ahead,
        worker_init_fn=_be_nice,
    )
    for tensors in loader:
        yield WindowBatch(*tensors)


class _Numbered(Dataset[tuple[Tensor | None, ...]]):
    def __init__(self, source: WindowSource) -> None:
        self.source = source

    def __getitem__(self, index: int) -> tuple[Tensor | None, ...]:
        return tensors_of(self.source.batch(index))


def spread(index: int, times: int, workers: int) -> int:
    """The number of the batch that is shown as number `index`: each once, and no two workers make the same windows.

    A `Reused` source shows its n-th windows in `times` batches in a row, so one worker gets all of these, and the next
    worker those of the (n + 1)-th windows. With 2 workers and 2 times, the first worker shows 0 1 4 5 and the second
    2 3 6 7, in turns: 0 2 1 3 4 6 5 7. Older windows that a batch repeats were made by the same worker if the source's
    spacing is a multiple of `workers`.
    """
    block, place = divmod(index, times * workers)
    turn, worker = divmod(place, workers)
    return (block * workers + worker) * times + turn


def _be_nice(_: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C reaches every process of a terminal; this one ends with the training.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        os.nice(_NICENESS)


def _orient(batch: WindowBatch, generator: torch.Generator) -> WindowBatch:
    """Mirror, turn and time-reverse a batch of square windows at random; the flow keeps its meaning."""
    mirror, transpose, reverse = (torch.rand(3, generator=generator) < 0.5).tolist()
    flow_sign = torch.tensor([-1.0 if mirror else 1.0, 1.0], device=batch.flow.device).view(1, 2, 1, 1, 1)

    def orient(tensor: Tensor) -> Tensor:
        tensor = tensor.flip(-1) if mirror else tensor
        tensor = tensor.transpose(-1, -2) if transpose else tensor
        return (tensor.flip(2) if reverse else tensor).contiguous()

    oriented = map_batch(dataclasses.replace(batch, flow=batch.flow * flow_sign), orient)
    return dataclasses.replace(oriented, flow=oriented.flow.flip(1).contiguous()) if transpose else oriented
