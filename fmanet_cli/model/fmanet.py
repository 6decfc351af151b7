"""FMA-Net: the degradation learning network and the restoration network together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fmanet_cli.errors import OptionError
from fmanet_cli.model.config import IMAGE_CHANNELS, FMANetConfig
from fmanet_cli.model.degradation import DegradationNetwork
from fmanet_cli.model.layers import Folding
from fmanet_cli.model.restoration import RestorationNetwork

ColourOrder = Literal["rgb", "bgr"]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingOutputs:
    """Everything the losses of both stages compare (paper Eq. 8 and 9)."""

    restored: Tensor
    """(B, 3, sH, sW): the sharp centre frame, not clamped."""
    reconstruction: Tensor | None
    """(B, 3, H, W): the blurry centre frame rebuilt by dynamic downsampling; None without a sharp window."""
    warped_sharp: Tensor | None
    """(B, 3, T, sH, sW): the sharp window warped to its centre frame and masked; None without one."""
    warped_window: Tensor
    """(B, 3, T, H, W): the blurry window warped to its centre frame and masked."""
    flow_mask: Tensor
    """f^Y, (B, 3, T, H, W): flow x, flow y in low-resolution pixels, occlusion logit."""
    anchor_degradation: Tensor
    """(B, 3, T, H, W): temporal anchor of Net^D."""
    anchor_restoration: Tensor
    """(B, 3, T, H, W): temporal anchor of Net^R."""


class FMANet(nn.Module):
    """The network of the paper, plain and whole: every frame of every window is computed anew.

    Parameter names are those of the published checkpoints with the prefixes `degradation_learning_network.` and
    `restoration_network.`.
    """

    def __init__(self, config: FMANetConfig | None = None, *, colour_order: ColourOrder = "rgb") -> None:
        """Build the network with random weights.

        Args:
            config: its sizes; None = the published network.
            colour_order: order of the channels, `rgb` or `bgr`, that its weights were or will be trained with.
        """
        super().__init__()
        self.config = config or FMANetConfig()
        self.colour_order: ColourOrder = colour_order
        """Channel order of input and output the weights were trained with."""
        self.degradation_learning_network = DegradationNetwork(self.config)
        self.restoration_network = RestorationNetwork(self.config)

    def forward(self, window: Tensor) -> Tensor:
        """Restore the centre frame.

        Args:
            window: (B, 3, T, H, W) float in [0, 1], channels in `colour_order`.

        Returns:
            (B, 3, 4H, 4W), not clamped, same colour order.

        Raises:
            OptionError: the window has another layout, dtype or number of frames. Where T is 3, (B, T, 3, H, W) has the
                same shape and cannot be told apart: `restore_frames` takes frames in the usual order.
        """
        self._check_window(window)
        return self.restoration_network(window, self.degradation_learning_network(window)).restored

    def forward_training(self, window: Tensor, sharp_window: Tensor | None) -> TrainingOutputs:
        """Restore and run every head that the losses need.

        Args:
            window: (B, 3, T, H, W), blurry low-resolution frames.
            sharp_window: (B, 3, T, 4H, 4W), the sharp frames of the same moments; None saves rebuilding the blur.

        Raises:
            OptionError: the window has another layout, dtype or number of frames.
        """
        self._check_window(window)
        degradation = self.degradation_learning_network.forward_training(window, sharp_window)
        restoration = self.restoration_network(window, degradation.passed_on)
        return TrainingOutputs(
            restored=restoration.restored,
            reconstruction=degradation.reconstruction,
            warped_sharp=degradation.warped_sharp,
            warped_window=restoration.warped_window,
            flow_mask=degradation.flow_mask,
            anchor_degradation=degradation.anchor,
            anchor_restoration=self.restoration_network.a_conv(restoration.features),
        )

    def _check_window(self, window: Tensor) -> None:
        layout = f"(B, 3, {self.config.num_frames}, H, W): batch, colours, frames, rows, columns"
        shape = tuple(window.shape)
        if len(shape) != 5 or shape[1:3] != (IMAGE_CHANNELS, self.config.num_frames):
            raise OptionError(f"the network takes a window {layout}, got {shape}; restore_frames takes (T, H, W, 3)")
        if not window.is_floating_point():
            raise OptionError(f"the network takes floating-point values in [0, 1], got {window.dtype}: divide by 255")

    def fold_frames(self, folded: bool = True) -> FMANet:
        """Run one-frame convolutions in two dimensions, channels last: the same values, much faster on a CPU."""
        for module in self.modules():
            if isinstance(module, Folding):
                module.folded = folded
        return self

    def count_parameters(self) -> int:
        """Number of parameters, those included that only the losses of training use."""
        return sum(parameter.numel() for parameter in self.parameters())


def random_model(config: FMANetConfig, *, seed: int = 0) -> FMANet:
    """An untrained network with seeded weights, for measuring cost only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FMANet(config).eval()
