"""Feature refinement with multi-attention: the block that both networks stack (paper section 3.2, Eq. 1-4)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from fmanet_cli.model.activation import join_channels
from fmanet_cli.model.attention import MultiAttentionBlock
from fmanet_cli.model.config import FMANetConfig
from fmanet_cli.model.filtering import warp_features
from fmanet_cli.model.layers import FlowHead, ResidualDenseBlock, frames_to_channels, repeat_frame


@dataclass(frozen=True, slots=True, eq=False)
class RefinementState:
    """What an FRMA block refines."""

    features: Tensor
    """F: (B, C, T, H, W), each frame's own features, not warped."""
    warped: Tensor | None
    """F_w: (B, C, H, W), features aligned to the centre frame; None before the first block."""
    flow_masks: Tensor | None
    """f: (B, 3n, T, H, W), multi-flow-mask pairs; None before the first block of Net^D."""


class FRMABlock(nn.Module):
    """Refines the features, the multi-flow-mask pairs and the aligned feature once."""

    def __init__(self, config: FMANetConfig, *, degradation_aware: bool, first: bool) -> None:
        super().__init__()
        dim, frames, flow_channels = config.dim, config.num_frames, config.flow_channels
        has_flow = degradation_aware or not first
        self.rdb = ResidualDenseBlock(dim, config.growth, config.num_dense_layers)
        if degradation_aware:
            self.rdb_KD = ResidualDenseBlock(dim, config.growth, config.num_dense_layers)
            self.conv_KD = nn.Conv2d(dim * frames, dim, 1, bias=False)
        self.conv_Fw = nn.Conv2d(dim * frames + (0 if first else dim), dim, 1, bias=False)
        self.conv_f = FlowHead(2 * dim + (flow_channels if has_flow else 0), flow_channels, flow_channels)
        self.multi_attn_block = nn.ModuleList(
            MultiAttentionBlock(config, degradation_aware=degradation_aware) for _ in range(config.num_attention_blocks)
        )

    def forward(self, state: RefinementState, centre: Tensor, degradation: Tensor | None = None) -> RefinementState:
        """One refinement.

        Args:
            state: the previous block's result.
            centre: F_c^0, (B, C, H, W), the initial features of the centre frame.
            degradation: (B, C, T, H, W), features of the degradation kernels; Net^R only.
        """
        features = self.rdb(state.features)
        guide = repeat_frame(centre, features.shape[2])
        if state.flow_masks is None:
            flow_masks = self.conv_f(join_channels(guide, features))
        else:
            warped = warp_features(features, state.flow_masks)
            known = state.flow_masks.to(features.dtype)
            flow_masks = state.flow_masks + self.conv_f(join_channels(guide, known, warped))
        aligned = frames_to_channels(warp_features(features, flow_masks))
        if state.warped is not None:
            aligned = join_channels(state.warped.to(aligned.dtype), aligned)
        aligned = self.conv_Fw(aligned)
        kernel_guide = None
        if degradation is not None:
            kernel_guide = self.conv_KD(frames_to_channels(self.rdb_KD(degradation)))
        for block in self.multi_attn_block:
            aligned = block(aligned, centre, kernel_guide)
        return RefinementState(features, aligned, flow_masks)
