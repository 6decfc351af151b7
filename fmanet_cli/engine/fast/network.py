"""The network rebuilt for a stream: what depends on one frame alone is computed once, in strips, to the same result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fmanet_cli.engine.device import DTYPES, Precision, exact_float32
from fmanet_cli.engine.fast.fused import why_not_fused
from fmanet_cli.engine.fast.layers import (
    DenseBlock,
    DenseChain,
    Layout,
    MultiAttention,
    Strip,
    activate,
    conv,
    convolved,
    picture_of,
    pixels,
    strips,
)
from fmanet_cli.engine.fast.warping import upsample_into, upsample_source, warp_into, warp_source
from fmanet_cli.engine.memory import STRIP_BYTES, multiple_of
from fmanet_cli.engine.stopping import check
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
            strip_bytes or STRIP_BYTES[device.type],
            channel_multiple or multiple_of(device, precision),
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
            Refinement(block, layout, model.config.num_frames) for block in restoration.FRMA_blocks
        ]
        self._kernel_features = KernelFeatures(model, layout)
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
        picture = self._layout.padded(torch.stack(list(frames)).to(self._layout.dtype))
        picture = picture.contiguous(memory_format=torch.channels_last)
        initial: list[Tensor] = []
        refined: list[list[Tensor]] = []
        for index in range(2):
            features = self._chains[index](activate(conv(picture, self._first[index])))
            initial.append(features)
            refined.append([])
            for block in self._rdbs[index]:
                features = block(features)
                refined[index].append(features)
            if index == 0:
                picture = torch.cat((picture, features), dim=1)
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
        """Several windows of one size in one pass, which fills a GPU that one small picture would not."""
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


def _single(pictures: Tensor, index: int) -> Tensor:
    """(N, C, H, W) to (1, C, H, W) in memory of its own: its neighbours may be gone long before it."""
    return pictures if len(pictures) == 1 else pictures[index : index + 1].clone()


def _batched(pictures: Sequence[Tensor]) -> Tensor:
    """(1, C, H, W) each to (B, C, H, W), channels last; one picture is not copied."""
    return pictures[0] if len(pictures) == 1 else torch.cat(list(pictures))


class FlowConvs:
    """Two convolutions that predict optical flow; the second in float32."""

    def __init__(self, head: Any, layout: Layout, *, inputs: Sequence[int] | None = None) -> None:
        self._layout = layout
        self.first, self.second = layout.weight(head[0].weight, inputs=inputs), layout.wide(head[2].weight)

    def __call__(self, picture: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H, W) float32."""
        rounded = self._layout.padded(picture.to(self._layout.dtype))
        return self.finish(conv(rounded.contiguous(memory_format=torch.channels_last), self.first))

    def finish(self, hidden: Tensor) -> Tensor:
        """From the first convolution's result, which is overwritten."""
        return conv(activate(hidden).float(), self.second)


class Refinement:
    """An `FRMABlock` without its dense block, which runs once a frame elsewhere."""

    def __init__(self, block: Any, layout: Layout, num_frames: int) -> None:
        dim, taken = block.conv_Fw.weight.shape[:2]
        width = layout.width(dim)
        self._dim, self._width, self._fused = dim, width, layout.fused
        flow_inputs = block.conv_f[0].weight.shape[1] - 2 * dim
        self._flow = FlowConvs(block.conv_f, layout, inputs=[dim, *[flow_inputs] * (flow_inputs > 0), dim])
        self._guide = self._flow.first[:, :width].contiguous(memory_format=torch.channels_last)
        self._rest = torch.cat((self._flow.first[:, -width:], self._flow.first[:, width:-width]), dim=1)
        self._rest = self._rest.contiguous(memory_format=torch.channels_last)
        fuse = _frames_outermost(block.conv_Fw.weight, dim, num_frames)
        fuse = layout.weight(fuse, inputs=[dim] * (taken // dim))[:, :, 0, 0].t()
        parts = [part.contiguous() for part in fuse.split(width)]
        self._carry, self._fuse = parts[:-num_frames], parts[-num_frames:]
        self._attention = [MultiAttention(part, layout) for part in block.multi_attn_block]
        self._degradation_aware = hasattr(block, "rdb_KD")
        if self._degradation_aware:
            self._kernel_block = DenseBlock(block.rdb_KD, layout, bias_scale=KERNEL_BRANCH_SCALE)
            kernels = layout.weight(_frames_outermost(block.conv_KD.weight, dim, num_frames), inputs=[dim] * num_frames)
            self._kernel_fuse = [part.t().contiguous() for part in kernels[:, :, 0, 0].split(width, dim=1)]

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
        image = picture_of(fused, centre)
        guides = [centre]
        if kernel_features is not None:
            guides.append(self._kernel_guide(kernel_features, centre))
        for attention in self._attention:
            image = attention(image, guides)
        return image, flow_masks

    def _align(self, features: list[Tensor], flow_masks: Tensor | None, centre: Tensor) -> tuple[Tensor, Tensor]:
        """The features warped by the refined flow-mask pairs and fused frame after frame, never all of them at once.

        Returns:
            (B * H * W, C), what they add to F_w^{i+1}, and f^{i+1}.
        """
        guided = conv(centre, self._guide)
        dim, width, windows = self._dim, self._width, len(centre)
        aligned = _empty_picture(centre, width, used=dim)
        fused = torch.zeros_like(pixels(centre))
        joined: Tensor | None = None
        if flow_masks is not None:
            joined = _empty_picture(centre, self._rest.shape[1], used=dim + flow_masks.shape[1])
        for index, picture in enumerate(features):
            check()
            # Both warps sample the same float32 copy, made once.
            wide = warp_source(picture[:, :dim], fused=self._fused)
            mine = slice(index * windows, (index + 1) * windows)
            if joined is None:
                fields = self._flow.finish(conv(picture, self._rest).add_(guided))
                if flow_masks is None:
                    flow_masks = _empty_picture(fields, fields.shape[1], batch=len(features) * windows)
                flow_masks[mine] = fields
            else:
                assert flow_masks is not None
                warp_into(joined[:, :dim], wide, flow_masks[mine], fused=self._fused)
                joined[:, width : width + flow_masks.shape[1]] = flow_masks[mine]
                flow_masks[mine] += self._flow.finish(conv(joined, self._rest).add_(guided))
            warp_into(aligned[:, :dim], wide, flow_masks[mine], fused=self._fused)
            fused.addmm_(pixels(aligned), self._fuse[index])
            # It would stay while the next frame's is made.
            del wide
        assert flow_masks is not None
        return fused, flow_masks

    def _kernel_guide(self, kernel_features: Tensor, like: Tensor) -> Tensor:
        """k^{D,i}, (B, C, H, W)."""
        total = torch.zeros_like(pixels(like))
        # Frame after frame, what lies between the block's layers stays in a processor's cache.
        for frames, matrix in zip(kernel_features.split(len(like)), self._kernel_fuse, strict=True):
            total.addmm_(pixels(self._kernel_block(frames)), matrix)
        return picture_of(total, like)


def _empty_picture(like: Tensor, channels: int, *, used: int | None = None, batch: int | None = None) -> Tensor:
    """(B, channels, H, W), channels last, not filled; zero where only `used` of the channels will be filled."""
    size = (batch or len(like), *like.shape[-2:], channels)
    make = torch.empty if used in (None, channels) else torch.zeros
    return make(size, dtype=like.dtype, device=like.device).permute(0, 3, 1, 2)


def _frames_outermost(weight: Any, dim: int, num_frames: int) -> Tensor:
    """A convolution's weight, the last T * C of its inputs reordered from (c t) to (t c)."""
    others, frames = weight.detach().split([weight.shape[1] - dim * num_frames, dim * num_frames], dim=1)
    frames = frames.unflatten(1, (dim, num_frames)).transpose(1, 2).flatten(1, 2)
    return torch.cat((others, frames), dim=1)


class KernelFeatures:
    """Features of the degradation kernels times `KERNEL_BRANCH_SCALE`, without ever making the kernels.

    Net^D's last convolution (C to k_d * k_d) and Net^R's first that reads it have no activation between them, so
    they are one 5x5 convolution over the frames. Only where the picture's edge cuts the kernels off (they are zero
    outside) does that differ; the outermost rows and columns are computed in the two steps.
    """

    def __init__(self, model: FMANet, layout: Layout) -> None:
        degradation: Any = model.degradation_learning_network
        restoration: Any = model.restoration_network
        self._layout, self._num_frames = layout, model.config.num_frames
        self._first = layout.weight(degradation.d_conv[0].weight)
        self._make = layout.weight(degradation.d_conv[2].weight)
        read = restoration.d_conv[0].weight.detach() * KERNEL_BRANCH_SCALE
        merged = _merge(degradation.d_conv[2].weight.detach().squeeze(2), read)
        self._read, self._merged, self._last = (
            _window_weights(weight, layout, self._num_frames)
            for weight in (read, merged, restoration.d_conv[2].weight.detach())
        )

    def __call__(self, warped: Tensor) -> Tensor:
        """F_w^{D,M}, (B, C, H, W), to (T * B, C, H, W)."""
        windows = len(warped)
        hidden = activate(conv(_split_frames(warped, self._num_frames), self._first))
        first = _window_conv(hidden, self._merged, windows, self._layout)
        height, width = hidden.shape[-2:]
        if min(height, width) < 3:
            first = self._two_steps(hidden, (1, 1, 1, 1), windows)
        else:
            first[:, :, :1] = self._two_steps(hidden[:, :, :3], (1, 1, 1, 0), windows)
            first[:, :, -1:] = self._two_steps(hidden[:, :, -3:], (1, 1, 0, 1), windows)
            first[:, :, :, :1] = self._two_steps(hidden[:, :, :, :3], (1, 0, 1, 1), windows)
            first[:, :, :, -1:] = self._two_steps(hidden[:, :, :, -3:], (0, 1, 1, 1), windows)
        del hidden
        return _window_conv(activate(first), self._last, windows, self._layout)

    def _two_steps(self, hidden: Tensor, padding: tuple[int, int, int, int], windows: int) -> Tensor:
        """Kernels and their first reading; `padding` (left, right, top, bottom) where the picture ends."""
        kernels = F.pad(convolved(F.pad(hidden, padding), self._make), padding)
        return torch.cat(
            [
                convolved(torch.cat(near, dim=1), weight)
                for near, weight in zip(_near_frames(kernels, windows), self._read, strict=True)
            ]
        )


def _merge(make: Tensor, read: Tensor) -> Tensor:
    """One kernel for two convolutions in a row: (K, C, 3, 3) then (C', K, t, 3, 3) give (C', C, t, 5, 5)."""
    if make.device.type == "mps":
        # Metal has no float64.
        make, read = make.cpu(), read.cpu()
    steps = read.double().transpose(1, 2).flatten(0, 1)
    merged = F.conv2d(make.double().transpose(0, 1), steps.flip(-1, -2), padding=2)
    merged = merged.unflatten(1, (read.shape[0], read.shape[2]))
    return merged.permute(1, 0, 2, 3, 4).to(read.dtype)


def _window_weights(weight: Tensor, layout: Layout, num_frames: int) -> list[Tensor]:
    """A (C', C, 3, k, k) kernel as one for each of T moments, over the frames that are near it in the window."""
    offsets = [layout.weight(part) for part in weight.unbind(2)]
    return [
        torch.cat([offsets[time - index + 1] for time in near], dim=1).contiguous(memory_format=torch.channels_last)
        for index, near in enumerate(_near(num_frames))
    ]


def _near(num_frames: int) -> list[range]:
    """For each of T moments those before, at and after it."""
    return [range(max(0, index - 1), min(num_frames, index + 2)) for index in range(num_frames)]


def _near_frames(frames: Tensor, windows: int) -> list[list[Tensor]]:
    """For each moment of (T * B, C, H, W) the (B, C, H, W) frames before, at and after it."""
    moments = frames.split(windows)
    return [[moments[time] for time in near] for near in _near(len(moments))]


def _window_conv(frames: Tensor, weights: list[Tensor], windows: int, layout: Layout) -> Tensor:
    """A convolution over (T * B, C, H, W) frames of B windows in time and space; zero lies around a window.

    `weights`: see `_window_weights`.
    """
    channels, size = weights[0].shape[0], weights[0].shape[-1]
    height, width = frames.shape[-2:]
    result = _empty_picture(frames, channels, batch=len(frames))
    for moment, near, weight in zip(result.split(windows), _near_frames(frames, windows), weights, strict=True):
        for strip in strips(height, layout.rows(width * windows, weight.shape[1]), size // 2):
            picture = torch.cat([strip.near(frame) for frame in near], dim=1)
            strip.own(moment).copy_(strip.conv(picture, weight))
    return result


def _split_frames(image: Tensor, num_frames: int) -> Tensor:
    """(B, C, H, W) with channels (c t) to (T * B, C / T, H, W), channels last."""
    frames = image.unflatten(1, (-1, num_frames)).permute(2, 0, 1, 3, 4).flatten(0, 1)
    return frames.contiguous(memory_format=torch.channels_last)


class RestorationHead:
    """Restoration kernels, dynamic upsampling and the pixel-shuffle residual, strip by strip."""

    def __init__(self, model: FMANet, layout: Layout) -> None:
        network: Any = model.restoration_network
        self._layout, self._config = layout, model.config
        make = network.r_conv[2].weight
        self._kernels = [layout.weight(network.r_conv[0].weight), layout.weight(make, outputs=len(make))]
        self._low = layout.weight(network.res_conv1.weight)
        # Each group of four channels becomes one of twice the size: the zeros stay at the end.
        shuffled = 4 * layout.width(model.config.residual_width)
        self._steps = [
            layout.weight(part.weight, outputs=shuffled) for part in (network.upsample.conv1, network.upsample.conv2)
        ]
        self._high = layout.weight(network.upsample.conv3.weight)
        self._last = layout.weight(_four_rows(network.res_conv2.weight.detach()))

    def __call__(self, warped: Tensor, window: Tensor) -> Tensor:
        """F_w^{R,M}, (1, C, H, W), and the warped frames, (T, 3, H, W) float32, to (3, 4H, 4W) float32."""
        config, scale = self._config, self._config.scale
        height, width = warped.shape[-2:]
        result = window.new_empty(IMAGE_CHANNELS, height * scale, width * scale)
        # Two convolutions at low resolution, one at twice and two at four times its size: three rows in all.
        for strip in strips(height, self._layout.rows(width, 3 * config.dim * scale**2), 3):
            result[:, strip.start * scale : strip.stop * scale] = self._residual(warped, strip)
        source = upsample_source(window, config.restoration_taps, fused=self._layout.fused)
        kernel_channels = config.num_frames * scale**2 * config.restoration_taps
        for strip in strips(height, self._layout.rows(width, 3 * kernel_channels), 2):
            hidden = activate(strip.conv(_split_frames(strip.near(warped), config.num_frames), self._kernels[0]))
            kernels = strip.conv(hidden, self._kernels[1]).unflatten(1, (scale**2, config.restoration_taps))
            rows = result[:, strip.start * scale : strip.stop * scale]
            upsample_into(rows, source, kernels, first_row=strip.start, residual=rows, fused=self._layout.fused)
        return result

    def _residual(self, warped: Tensor, strip: Strip) -> Tensor:
        """(3, 4h, 4W) for the h rows of a strip."""
        image = activate(strip.conv(strip.near(warped), self._low))
        for weight in self._steps:
            image = F.pixel_shuffle(activate(strip.conv(image, weight)), 2)
            image = image.contiguous(memory_format=torch.channels_last)
        return self._to_rgb(strip, activate(strip.conv(image, self._high)))

    def _to_rgb(self, strip: Strip, image: Tensor) -> Tensor:
        """The last convolution, for four rows at a time."""
        above, below = strip.edges
        rows = convolved(F.pad(image, (0, 0, above, below)), self._last, stride=(4, 1), padding=(0, 1))[0]
        return rows[: 4 * IMAGE_CHANNELS].unflatten(0, (IMAGE_CHANNELS, 4)).transpose(1, 2).flatten(1, 2)


def _four_rows(weight: Tensor) -> Tensor:
    """A 3x3 kernel for 3 channels as one for 12, which is four rows of 3 channels in every fourth row.

    Processors and GPUs compute at least 8 or 16 output channels at a time, so 3 cost nearly what 12 do.
    """
    rows = weight.new_zeros(weight.shape[0], 4, weight.shape[1], 6, 3)
    for row in range(4):
        rows[:, row, :, row : row + 3] = weight
    return rows.flatten(0, 1)
