"""What the device is given for a frame, by torch's profiler: launches, how long it is busy, and with which kernels."""

from __future__ import annotations

import functools
import itertools
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from fmanet_cli.bench.first_contact.contact import Contact, Parts, size_text
from fmanet_cli.bench.first_contact.measuring import built
from fmanet_cli.bench.matrix_peak import synchronize
from fmanet_cli.bench.operations import count_operations
from fmanet_cli.bench.synthetic import synthetic_frames
from fmanet_cli.weights.checkpoint import load_model

_FRAMES = 3
"""That are looked at; a rehearsal, in which each has thousands of operations to be noted, looks at one."""
_LISTED = 20
_COPIES = ("Memcpy", "Memset")


@dataclass(frozen=True, slots=True)
class Work:
    """One thing that a device did."""

    name: str
    """Of the kernel."""
    begin: float
    """In microseconds, on any clock."""
    end: float
    """On the same clock."""


def parts(contact: Contact) -> Parts:
    """See `Parts`."""
    small, _, large = contact.sizes
    found = {}
    for name, size, graphs in (
        (contact.wide, small, False),
        (contact.wide, small, True),
        (contact.small, small, False),
        (contact.wide, large, False),
    ):
        way = f"{name} {size_text(size)}{' graphs' if graphs else ''}"
        found[way] = functools.partial(_profiled, contact, name, size, graphs=graphs)
    for name in (contact.wide, contact.small):
        found[f"{name} {size_text(small)} counted without a device"] = functools.partial(_counted, name, small)
    return found


def _counted(name: str, size: tuple[int, int]) -> dict[str, Any]:
    return asdict(count_operations(load_model(name), *size))


def _profiled(contact: Contact, name: str, size: tuple[int, int], *, graphs: bool) -> dict[str, Any]:
    device = contact.device
    restorer = built(load_model(name), contact, graphs=graphs)
    count = 1 if contact.is_rehearsal else _FRAMES
    images = itertools.cycle([restorer.upload(frame.image) for frame in synthetic_frames(*size, count=_FRAMES)])
    frames = restorer.model.config.num_frames
    states: deque[Any] = deque(restorer.runner.frame_state(next(images)) for _ in range(frames))

    def steps() -> float:
        synchronize(device)
        began = time.perf_counter()
        for _ in range(count):
            states.popleft()
            states.append(restorer.runner.frame_state(next(images)))
            restorer.runner.window(list(states))
        synchronize(device)
        return time.perf_counter() - began

    steps()
    plain = steps()
    # Without the CPU's operations, the noting of which would slow down what is looked at.
    activity = ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity]) as profiler:
        watched = steps()
    works = _works(profiler, device)
    problem = getattr(restorer.runner, "problem", None)
    found = work_figures(works, frames=count, seconds=watched) | {"seconds_per_frame_unwatched": plain / count}
    return found | ({"wrong": problem or "the profiler saw nothing of the device"} if problem or not works else {})


def _works(profiler: Any, device: torch.device) -> list[Work]:
    """Kernels and copies of a device; on a CPU operations that consist of no others."""
    kind = DeviceType.CUDA if device.type == "cuda" else DeviceType.CPU
    events = [event for event in profiler.events() if event.device_type == kind]
    if device.type == "cpu":
        events = [event for event in events if not event.cpu_children]
    return [Work(event.name, event.time_range.start, event.time_range.end) for event in events]


def work_figures(works: Sequence[Work], *, frames: int, seconds: float) -> dict[str, Any]:
    """What became of `frames` frames in `seconds`: launches, busy share, and the kernels that took longest."""
    kernels = [work for work in works if not work.name.startswith(_COPIES)]
    spent: Counter[str] = Counter()
    for work in works:
        spent[work.name] += work.end - work.begin  # type: ignore[assignment]
    times = Counter(work.name for work in works)
    busy = busy_microseconds(works) / 1e6
    table = [
        {"kernel": name, "ms_per_frame": micros / 1e3 / frames, "times_per_frame": times[name] / frames}
        for name, micros in spent.most_common(_LISTED)
    ]
    return {
        "launches_per_frame": len(kernels) / frames,
        "copies_per_frame": (len(works) - len(kernels)) / frames,
        "busy_share": busy / seconds,
        "busy_ms_per_frame": busy * 1e3 / frames,
        "ms_per_frame": seconds * 1e3 / frames,
        "longest": table[0]["kernel"] if table else "",
        "kernels": table,
    }


def busy_microseconds(works: Iterable[Work]) -> float:
    """How long at least one of them was running."""
    total, until = 0.0, float("-inf")
    for work in sorted(works, key=lambda work: work.begin):
        total += max(0.0, work.end - max(work.begin, until))
        until = max(until, work.end)
    return total
