"""On what a first contact tries a device: networks, sizes, numbers of frames; small ones on a CPU, as a rehearsal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fmanet_cli.engine.device import Precision, choose_device, choose_precision

Parts = Mapping[str, Callable[[], Any]]
"""What a step does, by name and in order. Each call gives its figures as a mapping, in which `wrong` says what is wrong
with them, and `left out` why there are none."""

REHEARSED = "a CPU: everything is tried on small frames, to see that nothing fails for its own reasons"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """What every step is given."""

    device: torch.device
    """What is tried."""
    precision: Precision
    """What suits it."""
    wide: str
    """The network that a GPU is for."""
    small: str
    """The network that every package has."""
    sizes: tuple[tuple[int, int], ...]
    """(height, width) of small, middle and large frames."""
    frames: tuple[int, ...]
    """How many of them are timed."""
    film_frames: int
    """Length of a film from file to file."""
    until: float = math.inf
    """When the step has to end, in seconds since the epoch."""

    @property
    def is_rehearsal(self) -> bool:
        """Whether there is no device to try."""
        return self.device.type == "cpu"

    @classmethod
    def on(cls, name: str, *, until: float = math.inf) -> Contact:
        """What suits a device.

        Args:
            name: see `choose_device`.
            until: see the field.

        Raises:
            DeviceError: it is not available.
            OptionError: it has another name.
        """
        device = choose_device(name)
        precision = choose_precision("auto", device)
        chosen: dict[str, Any] = {"device": device, "precision": precision, "small": "lite", "until": until}
        if device.type == "cpu":
            sizes = ((16, 24), (24, 32), (32, 48))
            return cls(**chosen, wide="random:lite", sizes=sizes, frames=(2, 2, 2), film_frames=3)
        sizes = ((180, 320), (360, 640), (720, 1280))
        return cls(**chosen, wide="random:paper", sizes=sizes, frames=(60, 30, 12), film_frames=120)


def size_text(size: tuple[int, int]) -> str:
    """(height, width) as people write it."""
    return f"{size[1]}x{size[0]}"
