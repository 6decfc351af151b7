"""How one window is computed: the interface, and the plain network behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from fmanet_cli.engine.device import DTYPES, Precision, exact_float32
from fmanet_cli.model.fmanet import FMANet


class WindowRunner(Protocol):
    """Computes what depends on one frame once, and a window from the results of its frames."""

    def frame_state(self, frame: Tensor) -> Any:
        """`frame`: (3, H, W) float32 in [0, 1] on the runner's device, in the network's colour order."""

    def window(self, states: Sequence[Any]) -> Tensor:
        """(3, 4H, 4W) float32, not clamped: the restored centre frame of T states in order."""


@runtime_checkable
class BatchRunner(WindowRunner, Protocol):
    """A runner that computes several windows in one pass, and may be called by several threads at once."""

    def frame_states(self, frames: Sequence[Tensor]) -> list[Any]:
        """As `frame_state`, of frames of one size."""

    def windows(self, batch: Sequence[Sequence[Any]]) -> list[Tensor]:
        """As `window`, of windows of one size."""


class ReferenceRunner:
    """The network of the golden tests as it is: whole windows, nothing kept between them."""

    def __init__(self, model: FMANet, *, device: torch.device, precision: Precision) -> None:
        # In two dimensions: three-dimensional convolutions are wrong on some versions of Metal.
        self._model = model.to(device).fold_frames(device.type == "mps")
        self._dtype, self._precision = DTYPES[precision], precision

    def frame_state(self, frame: Tensor) -> Tensor:
        """The frame itself."""
        return frame

    @torch.inference_mode()
    def window(self, states: Sequence[Tensor]) -> Tensor:
        """(3, 4H, 4W) float32, not clamped."""
        window = torch.stack(list(states), dim=1).unsqueeze(0)
        with (
            exact_float32(window.device, self._precision),
            torch.autocast(window.device.type, dtype=self._dtype, enabled=self._dtype != torch.float32),
        ):
            return self._model(window)[0].float()
