"""The network rebuilt for a stream: what depends on one frame alone is computed once, in strips, to the same result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fmanet_cli.engine import memory
from fmanet_cli.engine.device import DTYPES, Precision, exact_float32
from fmanet_cli.engine.fast.dense import DenseBlock, DenseChain
from fmanet_cli.engine.fast.fused import why_not_fused
from fmanet_cli.engine.fast.head import RestorationHead
from fmanet_cli.engine.fast.kernel_features import KernelFeatures
from fmanet_cli.engine.fast.layers import Layout, activate, conv
from fmanet_cli.engine.fast.refinement import FlowConvs, Refinement
from fmanet_cli.engine.fast.warping import warp_into
from fmanet_cli.model.config import IMAGE_CHANNELS
from fmanet_cli.model.fmanet import FMANet

KERNEL_BRANCH_SCALE = 2.0**-8
"""What the branch from the degradation kernels to the attention's queries is multiplied by, so that it stays inside
fp16. Trained networks reach 1.6e5 there, and fp16 ends at 65504. The branch has no additive term but one bias and its
queries are scaled to unit length, so the factor cancels; being a power of two, it changes no bit of a float32."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameState:
    """What depends on one frame alone, kept for as long as a window needs it."""

    frame: Tensor
    """(3, H, W) float32."""
    initial: tuple[Tensor, Tensor]
    """F^0 of Net^D and of Net^R, (1, C, H, W): the guides when this frame is the centre."""
    refined: tuple[list[Tensor], list[Tensor]]
    """F^1 to F^M of Net^D and of Net^R, (1, C, H, W) each."""


class StreamingRunner:
    """Computes windows from the kept results of their frames.

    The result equals the plain network's: the extractors and the refinement's dense blocks see one frame alone, and so
    run once a frame; the last layer of the degradation kernels and the first that reads them are one merged layer; wide
    layers run in strips of rows.
    """

    def __init__(
        self,
        model: FMANet,
        *,
        device: torch.device,
        precision: Precision,
        strip_bytes: int | None = None,
        channel_multiple: int | None = None,
        fused: bool | None = None,
    ) -> None:
        """`strip_bytes`, `channel_multiple` and `fused`: see `Layout`; None = what suits the device."""
        degradation: Any = model.degradation_learning_network
        restoration: Any = model.restoration_network
        self._config = model.config
        layout = Layout(
            device,
            DTYPES[precision],
            strip_bytes or memory.strip_bytes(device),
            channel_multiple or memory.multiple_of(device, precision),
            model.config.dim,
            model.config.num_frames,
            why_not_fused(device, DTYPES[precision]) is None if fused is None else fused,
        )
        self._layout, self._precision = layout, precision
        self._first = [
            layout.weight(network.feature_extractor[0].weight, inputs=inputs)
            for network, inputs in ((degradation, None), (restoration, (IMAGE_CHANNELS, model.config.dim)))
        ]
        self._chains = [DenseChain(network.feature_extractor[2], layout) for network in (degradation, restoration)]
        self._rdbs = [
            [DenseBlock(block.rdb, layout) for block in network.FRMA_blocks] for network in (degradation, restoration)
        ]
        self._refine_degradation = [
            Refinement(block, layout, model.config.num_frames) for block in degradation.FRMA_blocks
        ]
        self._refine_restoration = [
            Refinement(block, layout, model.config.num_frames, kernel_scale=KERNEL_BRANCH_SCALE)
            for block in restoration.FRMA_blocks
        ]
        self._kernel_features = KernelFeatures(model, layout, KERNEL_BRANCH_SCALE)
        self._flow_in, self._flow_guess, self._flow_final = (
            FlowConvs(head, layout) for head in (restoration.f_conv1, restoration.f_conv2, restoration.f_conv3)
        )
        self._head = RestorationHead(model, layout)

    @property
    def num_frames(self) -> int:
        """Frames of a window."""
        return self._config.num_frames

    def frame_state(self, frame: Tensor) -> FrameState:
        """`frame`: (3, H, W) float32 in [0, 1] on the device, in the network's colour order."""
        return self.frame_states([frame])[0]

    def frame_states(self, frames: Sequence[Tensor]) -> list[FrameState]:
        """As `frame_state`, of several frames of one size in one pass."""
        with torch.inference_mode(), exact_float32(self._layout.device, self._precision):
            return self._frame_states(frames)

    def _frame_states(self, frames: Sequence[Tensor]) -> list[FrameState]:
        image = self._layout.padded(torch.stack(list(frames)).to(self._layout.dtype))
        image = image.contiguous(memory_format=torch.channels_last)
        initial: list[Tensor] = []
        refined: list[list[Tensor]] = []
        for index in range(2):
            features = self._chains[index](activate(conv(image, self._first[index])))
            initial.append(features)
            refined.append([])
            for block in self._rdbs[index]:
                features = block(features)
                refined[index].append(features)
            if index == 0:
                image = torch.cat((image, features), dim=1)
        return [
            FrameState(
                frame,
                (_single(initial[0], index), _single(initial[1], index)),
                ([_single(part, index) for part in refined[0]], [_single(part, index) for part in refined[1]]),
            )
            for index, frame in enumerate(frames)
        ]

    def window(self, states: Sequence[FrameState]) -> Tensor:
        """(3, 4H, 4W) float32, not clamped: the restored centre frame of T states in order."""
        return self.windows([states])[0]

    def windows(self, batch: Sequence[Sequence[FrameState]]) -> list[Tensor]:
        """Several windows of one size in one pass, which fills a GPU that one small image would not."""
        with torch.inference_mode(), exact_float32(self._layout.device, self._precision):
            return self._windows(batch)

    def _windows(self, batch: Sequence[Sequence[FrameState]]) -> list[Tensor]:
        """Tensors over a window's frames are (T * B, ...), the B windows of the first frame first."""
        per_frame = list(zip(*batch, strict=True))
        centres = per_frame[self._config.centre]
        warped: Tensor | None = None
        flow_masks: Tensor | None = None
        for index, refinement in enumerate(self._refine_degradation):
            features = [_batched([state.refined[0][index] for state in states]) for states in per_frame]
            centre = _batched([state.initial[0] for state in centres])
            warped, flow_masks = refinement(features, warped, flow_masks, centre)
        assert warped is not None
        assert flow_masks is not None
        kernel_features = self._kernel_features(warped)
        flow_masks = self._flow_in(flow_masks)
        warped = None
        for index, refinement in enumerate(self._refine_restoration):
            features = [_batched([state.refined[1][index] for state in states]) for states in per_frame]
            centre = _batched([state.initial[1] for state in centres])
            warped, flow_masks = refinement(features, warped, flow_masks, centre, kernel_features)
        assert warped is not None
        assert flow_masks is not None
        del kernel_features, features, centre
        frames = torch.stack([state.frame for states in per_frame for state in states])
        warped_frames = self._warp_frames(frames, flow_masks).unflatten(0, (-1, len(batch)))
        return [self._head(warped[index : index + 1], warped_frames[:, index]) for index in range(len(batch))]

    def _warp_frames(self, frames: Tensor, flow_masks: Tensor) -> Tensor:
        """The frames (T * B, 3, H, W) warped to the centre and masked: a first guess, then the final flow-mask pair."""
        guess = torch.empty_like(frames)
        warp_into(guess, frames, self._flow_guess(flow_masks), fused=self._layout.fused)
        by_frame = frames.unflatten(0, (self._config.num_frames, -1))
        centre = by_frame[self._config.centre].expand_as(by_frame).flatten(0, 1)
        final = self._flow_final(torch.cat((flow_masks, guess, centre), dim=1))
        warped = torch.empty_like(frames)
        warp_into(warped, frames, final, fused=self._layout.fused)
        return warped


def _single(images: Tensor, index: int) -> Tensor:
    """(N, C, H, W) to (1, C, H, W) in memory of its own: its neighbours may be gone long before it."""
    return images if len(images) == 1 else images[index : index + 1].clone()


def _batched(images: Sequence[Tensor]) -> Tensor:
    """(1, C, H, W) each to (B, C, H, W), channels last; one image is not copied."""
    return images[0] if len(images) == 1 else torch.cat(list(images))
