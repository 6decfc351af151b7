"""Net^R, the restoration network: the sharp high-resolution centre frame of a window."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from fmanet_cli.model.activation import Activation, join_channels
from fmanet_cli.model.config import FLOW_MASK_CHANNELS, IMAGE_CHANNELS, FMANetConfig
from fmanet_cli.model.degradation import DegradationFeatures
from fmanet_cli.model.filtering import dynamic_upsampling, warp_window
from fmanet_cli.model.frma import FRMABlock, RefinementState
from fmanet_cli.model.layers import (
    FlowHead,
    WindowConv,
    channels_to_frames,
    feature_extractor,
    repeat_frame,
    two_convs,
)


@dataclass(frozen=True, slots=True, eq=False)
class RestorationOutputs:
    """Outputs of Net^R; the anchor is there at training time only."""

    restored: Tensor
    """(B, 3, sH, sW): the sharp centre frame, not clamped."""
    warped_window: Tensor
    """(B, 3, T, H, W): the blurry frames warped to the centre frame and masked."""
    features: Tensor
    """F^{R,M}: (B, C, T, H, W)."""


class PixelShuffleUpsampler(nn.Module):
    """Two steps of x2 by pixel shuffle, then a convolution at high resolution (the residual branch)."""

    def __init__(self, dim: int, width: int) -> None:
        """`width`: channels C' from twice the size on; the published network keeps `dim`."""
        super().__init__()
        self.conv1 = nn.Conv2d(dim, 4 * width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, 4 * width, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.activation = Activation()

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', 4H, 4W)."""
        # Shuffled before they are activated, which is the same: so the next convolution's input is the result kept.
        image = self.activation(F.pixel_shuffle(self.conv1(image), 2))
        image = self.activation(F.pixel_shuffle(self.conv2(image), 2))
        return self.activation(self.conv3(image))


class RestorationNetwork(nn.Module):
    """Net^R of the paper (section 3.4)."""

    def __init__(self, config: FMANetConfig) -> None:
        super().__init__()
        self.config = config
        dim, flow_channels = config.dim, config.flow_channels
        self.feature_extractor = feature_extractor(
            IMAGE_CHANNELS + dim, dim, config.growth, config.num_dense_layers, config.num_rdbs
        )
        self.f_conv1 = FlowHead(flow_channels, flow_channels, flow_channels)
        self.d_conv = nn.Sequential(WindowConv(config.degradation_taps, dim), Activation(), WindowConv(dim, dim))
        self.FRMA_blocks = nn.ModuleList(
            FRMABlock(config, degradation_aware=True, first=index == 0) for index in range(config.num_frma_blocks)
        )
        self.res_conv1 = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.res_conv2 = nn.Conv2d(config.residual_width, IMAGE_CHANNELS, 3, padding=1, bias=False)
        self.upsample = PixelShuffleUpsampler(dim, config.residual_width)
        self.activation = Activation()
        self.r_conv = two_convs(dim // config.num_frames, dim, config.scale**2 * config.restoration_taps)
        self.f_conv2 = FlowHead(flow_channels, flow_channels, FLOW_MASK_CHANNELS)
        self.f_conv3 = FlowHead(flow_channels + 2 * IMAGE_CHANNELS, flow_channels, FLOW_MASK_CHANNELS)
        self.a_conv = two_convs(dim, dim, IMAGE_CHANNELS)

    def forward(self, window: Tensor, degradation: DegradationFeatures) -> RestorationOutputs:
        """`window`: (B, 3, T, H, W), blurry low-resolution frames in [0, 1]; `degradation`: Net^D's result."""
        config = self.config
        features = self.feature_extractor(join_channels(window.to(degradation.features.dtype), degradation.features))
        centre = features[:, :, config.centre]
        reader, activation, refiner = self.d_conv
        assert isinstance(reader, WindowConv)
        kernel_features = refiner(activation(degradation.kernels.read_by(reader)))
        state = RefinementState(features, None, self.f_conv1(degradation.flow_masks))
        for block in self.FRMA_blocks:
            state = block(state, centre, kernel_features)
        assert state.warped is not None
        assert state.flow_masks is not None
        warped_window = warp_window(window, self._image_flow_mask(window, state.flow_masks))
        kernels = self.r_conv(channels_to_frames(state.warped, config.num_frames))
        residual = self.res_conv2(self.upsample(self.activation(self.res_conv1(state.warped))))
        restored = dynamic_upsampling(warped_window, kernels, config.scale) + residual
        return RestorationOutputs(restored, warped_window, state.features)

    def _image_flow_mask(self, window: Tensor, flow_masks: Tensor) -> Tensor:
        """f^X, (B, 3, T, H, W): a first guess warps the window, and what it shows decides the final pair."""
        warped = warp_window(window, self.f_conv2(flow_masks))
        centre = repeat_frame(window[:, :, self.config.centre], self.config.num_frames)
        return self.f_conv3(join_channels(flow_masks, warped.to(flow_masks.dtype), centre.to(flow_masks.dtype)))
