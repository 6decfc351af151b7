"""What a run may ask of the restorer that started it, so that runs need not know how a restorer is built."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fmanet_cli.engine.device import Precision
from fmanet_cli.engine.runner import WindowRunner
from fmanet_cli.engine.tiling import Tiling
from fmanet_cli.engine.transfer import DirectTransfer, StreamedTransfer
from fmanet_cli.model.fmanet import FMANet


class PreparedNetwork(Protocol):
    """A network on its device in its precision, shared by runs and changed by none."""

    @property
    def model(self) -> FMANet:
        """As it was loaded."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def precision(self) -> Precision:
        """What it computes in."""

    @property
    def precision_is_free(self) -> bool:
        """Whether another precision may be taken where this one gives no result."""

    @property
    def tiling(self) -> Tiling:
        """As it was requested."""

    @property
    def runner(self) -> WindowRunner:
        """The network as it runs, for whole frames."""

    @property
    def transfer(self) -> DirectTransfer | StreamedTransfer:
        """The way of frames to the device and back."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of the device."""

    @property
    def scale(self) -> int:
        """Output size over input size."""

    def longer(self, precision: Precision) -> tuple[Precision, WindowRunner]:
        """The network in the next longer precision."""

    def upload(self, image: np.ndarray) -> Tensor:
        """(H, W, 3) RGB array to a (3, H, W) tensor on the device, in the network's colour order."""

    def as_image(self, restored: Tensor) -> Tensor:
        """(3, H, W) in the network's colour order to (H, W, 3) RGB in [0, 1]."""

    def as_rgb(self, image: Tensor) -> Tensor:
        """(3, H, W) from the network's colour order to RGB, or the other way."""
