"""A frame as the device has it, shared by the windows that it is in."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from fmanet_cli.engine.runner import BatchRunner, WindowRunner


class DeviceFrame:
    """A frame, or several in a row that show the same, on the device, with what a runner makes of it alone.

    Several threads may need that; one of them makes it.
    """

    def __init__(self, number: int, image: np.ndarray, tensor: Tensor, seen: Tensor) -> None:
        self.number = number
        """Of the frame; of the first where several show the same."""
        self.image = image
        """(H, W, 3), as it was read."""
        self.tensor = tensor
        """(3, H, W) on the device, in the network's colour order."""
        self.seen = seen
        """What the network is given of it; `tensor` itself where nothing comes before the network."""
        self._lock = threading.Lock()
        self._made_by: WindowRunner | None = None
        self._state: Any = None

    def state(self, runner: WindowRunner) -> Any:
        """What the runner makes of the frame alone: made here, waited for or there; another runner's does not count."""
        with self._lock:
            if self._made_by is not runner:
                self._state = None
                self._state = runner.frame_state(self.seen)
                self._made_by = runner
            return self._state

    def forget(self) -> None:
        """Free what was made; who asks again has it made again."""
        with self._lock:
            self._state = self._made_by = None

    @staticmethod
    def make_states(runner: BatchRunner, frames: Sequence[DeviceFrame]) -> None:
        """Make what frames lack in one pass; a frame may be named several times."""
        missing = list(dict.fromkeys(frame for frame in frames if frame._made_by is not runner))
        if missing:
            states = runner.frame_states([frame.seen for frame in missing])
            for frame, state in zip(missing, states, strict=True):
                with frame._lock:
                    frame._state, frame._made_by = state, runner
