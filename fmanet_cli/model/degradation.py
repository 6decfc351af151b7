"""Net^D, the degradation learning network: optical flow, occlusion masks and degradation kernels of a window."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from fmanet_cli.model.config import FLOW_MASK_CHANNELS, IMAGE_CHANNELS, FMANetConfig
from fmanet_cli.model.filtering import dynamic_downsampling, warp_sharp_window
from fmanet_cli.model.frma import FRMABlock, RefinementState
from fmanet_cli.model.kernel_reading import DegradationKernels
from fmanet_cli.model.layers import FlowHead, FrameConv, channels_to_frames, feature_extractor, two_convs


@dataclass(frozen=True, slots=True, eq=False)
class DegradationFeatures:
    """What Net^D hands to Net^R."""

    features: Tensor
    """F^{D,M}: (B, C, T, H, W)."""
    flow_masks: Tensor
    """f^{D,M}: (B, 3n, T, H, W), per pair flow x, flow y (low-resolution pixels) and the occlusion logit."""
    kernels: DegradationKernels
    """K^D, not yet written."""

    @property
    def kernel_logits(self) -> Tensor:
        """K^D before its softmax, written anew each time: (B, k_d * k_d, T, H, W)."""
        return self.kernels.logits()


@dataclass(frozen=True, slots=True, eq=False)
class DegradationOutputs:
    """Training-time outputs of Net^D (paper section 3.4, the terms of Eq. 8)."""

    passed_on: DegradationFeatures
    """What Net^R receives."""
    reconstruction: Tensor | None
    """(B, 3, H, W): the blurry centre frame rebuilt from the sharp window; None without one."""
    warped_sharp: Tensor | None
    """(B, 3, T, sH, sW): the sharp frames warped to the centre frame and masked; None without them."""
    flow_mask: Tensor
    """f^Y: (B, 3, T, H, W), image flow-mask pair."""
    anchor: Tensor
    """(B, 3, T, H, W): temporal anchor, a prediction of the sharp low-resolution frames."""


class DegradationNetwork(nn.Module):
    """Net^D of the paper (section 3.4)."""

    def __init__(self, config: FMANetConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.feature_extractor = feature_extractor(
            IMAGE_CHANNELS, dim, config.growth, config.num_dense_layers, config.num_rdbs
        )
        self.FRMA_blocks = nn.ModuleList(
            FRMABlock(config, degradation_aware=False, first=index == 0) for index in range(config.num_frma_blocks)
        )
        self.f_conv = FlowHead(config.flow_channels, config.flow_channels, FLOW_MASK_CHANNELS)
        self.d_conv = two_convs(dim // config.num_frames, dim, config.degradation_taps)
        self.a_conv = two_convs(dim, dim, IMAGE_CHANNELS)

    def forward(self, window: Tensor) -> DegradationFeatures:
        """`window`: (B, 3, T, H, W), blurry low-resolution frames in [0, 1]."""
        features = self.feature_extractor(window)
        centre = features[:, :, self.config.centre]
        state = RefinementState(features, None, None)
        for block in self.FRMA_blocks:
            state = block(state, centre)
        assert state.warped is not None
        assert state.flow_masks is not None
        first, activation, last = self.d_conv
        assert isinstance(last, FrameConv)
        hidden = activation(first(channels_to_frames(state.warped, self.config.num_frames)))
        return DegradationFeatures(state.features, state.flow_masks, DegradationKernels(hidden, last))

    def forward_training(self, window: Tensor, sharp_window: Tensor | None) -> DegradationOutputs:
        """Also runs the heads that only the losses need.

        Args:
            window: (B, 3, T, H, W), blurry low-resolution frames.
            sharp_window: (B, 3, T, sH, sW), the sharp frames of the same moments; None saves the reconstruction.
        """
        passed_on = self(window)
        scale = self.config.scale
        flow_mask = self.f_conv(passed_on.flow_masks)
        reconstruction = warped_sharp = None
        if sharp_window is not None:
            warped_sharp, coverage = warp_sharp_window(sharp_window, flow_mask, scale)
            reconstruction = dynamic_downsampling(warped_sharp, coverage, passed_on.kernel_logits, scale)
        return DegradationOutputs(
            passed_on=passed_on,
            reconstruction=reconstruction,
            warped_sharp=warped_sharp,
            flow_mask=flow_mask,
            anchor=self.a_conv(passed_on.features),
        )
