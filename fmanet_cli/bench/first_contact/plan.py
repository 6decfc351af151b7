"""The steps of a first contact, in order, and how long each may take."""

from __future__ import annotations

from dataclasses import dataclass

WHOLE_SECONDS = 540.0
"""How long all steps together may take."""


@dataclass(frozen=True, slots=True)
class Step:
    """One process that looks at one side of a device."""

    name: str
    """Of its module beside this one, and of its file."""
    share: int
    """Seconds of `WHOLE_SECONDS` that are kept for it; what earlier steps leave comes on top."""
    about: str
    """What it looks at, in a line."""


STEPS = (
    Step("machine", 30, "what fmanet doctor, the driver and the libraries say"),
    Step(
        "self_check", 60, "each precision, with fused kernels and without, as CUDA graphs and without, against the CPU"
    ),
    Step("files", 40, "restored files against those of the CPU in float32"),
    Step("speed", 95, "three sizes, with CUDA graphs and without"),
    Step("kernels", 30, "launches, how busy the device is, and the kernels that take longest"),
    Step("device_tests", 110, "the tests that need a device, where they are at hand"),
    Step("sweeps", 65, "strips, windows in a pass, channels rounded up, cuDNN's own search"),
    Step("memory", 40, "the plan against what is used"),
    Step("shortage", 30, "three, five, seven and nine tenths of the memory that is needed"),
    Step("queues", 40, "a film from file to file: what waits for what"),
)


def time_limit(index: int, *, now: float, end: float, whole: float = WHOLE_SECONDS) -> float:
    """Until when a step may run, so that every later one still gets its own share.

    Args:
        index: of the step in `STEPS`.
        now: seconds on any clock; no limit lies before it.
        end: when everything has to be over, on the same clock.
        whole: seconds between the beginning and `end`.

    Returns:
        Seconds on that clock.
    """
    kept = sum(step.share for step in STEPS[index + 1 :]) / WHOLE_SECONDS * whole
    return max(now, end - kept)
