"""What harm weights do: gains frame by frame, brightness, halos, flicker."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fmanet_cli.evaluation.scores import ScoredFrame

HARM_DB = 0.05
"""A frame that falls further below bicubic than this counts as harmed."""

LOW_PERCENTILE = 5.0

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Frames with a bicubic enlargement beside, taken together. Shifts are in 8-bit code values."""

    frames: int
    """How many."""
    gain: float
    """Mean PSNR over bicubic in dB."""
    low_gain: float
    """5th percentile of the frames' gains in dB."""
    harm: float
    """Share of the frames more than 0.05 dB below bicubic."""
    luma_shift: float
    """Mean luma of restored minus truth."""
    bicubic_luma_shift: float
    """The same of bicubic."""
    colour_shift: float
    """Largest mean shift of a channel of restored minus truth, in size."""
    overshoot: float
    """Share of values more than 4 outside the truth's range around them."""
    bicubic_overshoot: float
    """The same of bicubic."""
    tof: float | None
    """Mean tOF in pixels; None where no frame has one."""
    bicubic_tof: float | None
    """The same of bicubic."""
    flicker: float | None
    """Mean change along the truth's flow beyond that of the truth; None where no frame has one before it."""
    bicubic_flicker: float | None
    """The same of bicubic."""

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain data; what is not finite is null."""
        return {
            name: value if not isinstance(value, float) or math.isfinite(value) else None
            for name, value in asdict(self).items()
        }


def summarise(frames: Sequence[ScoredFrame]) -> Summary:
    """Return the summary of frames that all have a bicubic enlargement beside."""
    pairs = [(frame.restored, frame.bicubic) for frame in frames if frame.bicubic is not None]
    # Equal figures may both be infinite.
    gains = np.array([0.0 if a.psnr == b.psnr else a.psnr - b.psnr for a, b in pairs])
    shift = np.mean([frame.colour_shift for frame in frames], axis=0)
    bicubic_shift = np.mean([frame.bicubic_colour_shift or (0.0, 0.0, 0.0) for frame in frames], axis=0)
    sides = list(zip(*pairs, strict=True))
    overshoot, tof, flicker = (
        [known_mean(getattr(scores, name) for scores in side) for side in sides]
        for name in ("overshoot", "tof", "flicker")
    )
    return Summary(
        frames=len(frames),
        gain=float(gains.mean()),
        low_gain=float(np.percentile(gains, LOW_PERCENTILE)),
        harm=float(np.mean(gains < -HARM_DB)),
        luma_shift=float(shift @ _LUMA),
        bicubic_luma_shift=float(bicubic_shift @ _LUMA),
        colour_shift=float(np.abs(shift).max()),
        overshoot=overshoot[0] or 0.0,
        bicubic_overshoot=overshoot[1] or 0.0,
        tof=tof[0],
        bicubic_tof=tof[1],
        flicker=flicker[0],
        bicubic_flicker=flicker[1],
    )


def summaries(frames: Sequence[ScoredFrame]) -> dict[str, Summary]:
    """Return the summary of all frames under `all` and of each condition of recorded clips under its name.

    Of several presets each comes before its conditions, as `camera` before `camera, still`.
    """
    parts: dict[str, list[ScoredFrame]] = {"all": list(frames)}
    several = len({frame.preset for frame in frames}) > 1
    for frame in frames:
        if several:
            parts.setdefault(frame.preset, []).append(frame)
        if frame.condition:
            parts.setdefault(frame.condition, []).append(frame)
    return {name: summarise(part) for name, part in parts.items()}


def known_mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are there; None where there is none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
