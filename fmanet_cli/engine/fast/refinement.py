"""One refinement of a window for streaming: its frames aligned by refined optical flow, fused and attended to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fmanet_cli.engine.fast.dense import DenseBlock
from fmanet_cli.engine.fast.layers import Layout, activate, conv, empty_image, image_of, pixels
from fmanet_cli.engine.fast.multi_attention import MultiAttention
from fmanet_cli.engine.fast.warping import warp_into, warp_source
from fmanet_cli.engine.stopping import check


class FlowConvs:
    """Two convolutions that predict optical flow; the second in float32."""

    def __init__(self, head: Any, layout: Layout) -> None:
        self._layout = layout
        self._first, self._second = layout.weight(head[0].weight), layout.wide(head[2].weight)

    def __call__(self, image: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H, W) float32."""
        rounded = self._layout.padded(image.to(self._layout.dtype))
        hidden = activate(conv(rounded.contiguous(memory_format=torch.channels_last), self._first))
        return conv(hidden[:, : self._second.shape[1]].float(), self._second)


class GuidedFlowConvs:
    """The same of a frame joined with the centre frame's features, which are convolved once for all frames."""

    def __init__(self, head: Any, layout: Layout, dim: int) -> None:
        self._layout = layout
        guide, flow_masks, features = head[0].weight.detach().tensor_split((dim, -dim), dim=1)
        self._guide, self._rest = layout.weight(guide), layout.weight(torch.cat((features, flow_masks), dim=1))
        self._second = layout.wide(head[2].weight)
        self.taken = self._rest.shape[1]
        """Channels of what is joined: the features, the flow-mask pairs, and what they are rounded up with."""

    def guided(self, centre: Tensor) -> Tensor:
        """What the centre frame's features, (B, C, H, W), add to the hidden ones of every frame."""
        return conv(centre, self._guide)

    def __call__(self, joined: Tensor, guided: Tensor) -> Tensor:
        """(T * B, `taken`, H, W), and `guided` of the B centre frames, to (T * B, 3n, H, W) float32."""
        hidden, channels = conv(joined, self._rest), self._second.shape[1]
        if self._layout.fused:
            from fmanet_cli.engine.fast import triton_glue

            dense = hidden.contiguous(memory_format=torch.channels_last)
            wide = triton_glue.flow_hidden(dense, guided.contiguous(memory_format=torch.channels_last), channels)
        else:
            hidden.unflatten(0, (-1, len(guided))).add_(guided)
            wide = activate(hidden)[:, :channels].float()
        return conv(wide, self._second)


class Refinement:
    """An `FRMABlock` without its dense block, which runs once a frame elsewhere."""

    def __init__(self, block: Any, layout: Layout, num_frames: int, *, kernel_scale: float = 1.0) -> None:
        """`kernel_scale`: how many times as large as the network's own the kernel features come."""
        dim, taken = block.conv_Fw.weight.shape[:2]
        self._dim, self._layout = dim, layout
        self._flow = GuidedFlowConvs(block.conv_f, layout, dim)
        fuse = _frames_outermost(block.conv_Fw.weight, dim, num_frames)
        fuse = layout.weight(fuse, inputs=[dim] * (taken // dim))[:, :, 0, 0].t()
        parts = [part.contiguous() for part in fuse.split(layout.width(dim))]
        self._carry, self._fuse = parts[:-num_frames], parts[-num_frames:]
        self._attention = [MultiAttention(part, layout) for part in block.multi_attn_block]
        self._degradation_aware = hasattr(block, "rdb_KD")
        if self._degradation_aware:
            mixes = block.conv_KD.weight.detach()[:, :, 0, 0].unflatten(1, (dim, num_frames)).unbind(2)
            self._kernel_block = DenseBlock(block.rdb_KD, layout, bias_scale=kernel_scale, mixes=mixes)

    def __call__(
        self,
        features: list[Tensor],
        carried: Tensor | None,
        flow_masks: Tensor | None,
        centre: Tensor,
        kernel_features: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One refinement of a window.

        Args:
            features: F^{i+1} of the T frames, (B, C, H, W) each.
            carried: F_w^i, (B, C, H, W); None before the first block.
            flow_masks: f^i, (T * B, 3n, H, W) float32, overwritten; None before the first block of Net^D.
            centre: F_c^0, (B, C, H, W).
            kernel_features: (T * B, C, H, W); Net^R only.

        Returns:
            F_w^{i+1}, (B, C, H, W), and f^{i+1}, (T * B, 3n, H, W) float32.
        """
        fused, flow_masks = self._align(features, flow_masks, centre)
        for matrix in self._carry:
            assert carried is not None
            fused.addmm_(pixels(carried), matrix)
        image = image_of(fused, centre)
        guides = [centre]
        if kernel_features is not None:
            guides.append(self._kernel_block.mixed(kernel_features, len(centre)))
        for attention in self._attention:
            image = attention(image, guides)
        return image, flow_masks

    def _align(self, features: list[Tensor], flow_masks: Tensor | None, centre: Tensor) -> tuple[Tensor, Tensor]:
        """The features warped by the refined flow-mask pairs and fused; on a CPU frame after frame.

        Returns:
            (B * H * W, C), what they add to F_w^{i+1}, and f^{i+1}.
        """
        guided, windows, is_first = self._flow.guided(centre), len(centre), flow_masks is None
        at_once = self._layout.frames_at_once(centre)
        fused = torch.zeros_like(pixels(centre))
        for first in range(0, len(features), at_once):
            check()
            some = features[first : first + at_once]
            mine = slice(first * windows, (first + len(some)) * windows)
            image = some[0] if len(some) == 1 else torch.cat(some)
            # Both warps sample the same float32 copy, made once.
            wide = warp_source(image[:, : self._dim], fused=self._layout.fused)
            if flow_masks is None or is_first:
                # Nothing to warp by yet, as in the first block of Net^D: the features go in as they are.
                fields = self._flow(image, guided)
                if flow_masks is None:
                    flow_masks = empty_image(fields, fields.shape[1], batch=len(features) * windows)
                flow_masks[mine] = fields
            else:
                flow_masks[mine] += self._flow(self._joined(image, wide, flow_masks[mine]), guided)
            aligned = empty_image(image, image.shape[1], used=self._dim)
            warp_into(aligned[:, : self._dim], wide, flow_masks[mine], fused=self._layout.fused)
            # The 1x1 convolution over all frames is a sum of one product each, so that no more than `some` are alive.
            for part, matrix in zip(aligned.split(windows), self._fuse[first:], strict=False):
                fused.addmm_(pixels(part), matrix)
            # They would stay while the next frames' are made.
            del image, wide, aligned
        assert flow_masks is not None
        return fused, flow_masks

    def _joined(self, image: Tensor, wide: Tensor, flow_masks: Tensor) -> Tensor:
        """The features warped by the flow-mask pairs so far, and those."""
        used = self._dim + flow_masks.shape[1]
        joined = empty_image(image, self._flow.taken, used=used)
        warp_into(joined[:, : self._dim], wide, flow_masks, fused=self._layout.fused)
        joined[:, self._dim : used] = flow_masks
        return joined


def _frames_outermost(weight: Any, dim: int, num_frames: int) -> Tensor:
    """A convolution's weight, the last T * C of its inputs reordered from (c t) to (t c)."""
    others, frames = weight.detach().split([weight.shape[1] - dim * num_frames, dim * num_frames], dim=1)
    frames = frames.unflatten(1, (dim, num_frames)).transpose(1, 2).flatten(1, 2)
    return torch.cat((others, frames), dim=1)
