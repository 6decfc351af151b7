"""Features of the degradation kernels for streaming, without ever making the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fmanet_cli.engine.fast.layers import Layout, Strip, activate, conv, convolved, empty_image, split_frames, strips
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.model.kernel_reading import merge_kernels


class KernelFeatures:
    """Features of the degradation kernels, without ever making the kernels.

    Net^D's last convolution (C to k_d * k_d) and Net^R's first that reads it have no activation between them, so
    they are one 5x5 convolution over the frames. Only where the frame's edge cuts the kernels off (they are zero
    outside) does that differ: what kernels outside would have added to the outermost rows and columns is taken off.
    """

    def __init__(self, model: FMANet, layout: Layout, scale: float) -> None:
        """`scale`: how many times as large as the network's own the features come."""
        degradation: Any = model.degradation_learning_network
        restoration: Any = model.restoration_network
        self._layout, self._num_frames = layout, model.config.num_frames
        self._first = layout.weight(degradation.d_conv[0].weight)
        make = degradation.d_conv[2].weight.detach().squeeze(2)
        read = restoration.d_conv[0].weight.detach() * scale
        self._merged = WindowConv(_merge(make, read), layout, self._num_frames)
        self._last = WindowConv(restoration.d_conv[2].weight.detach(), layout, self._num_frames)
        # Before the first row lies a row of kernels that its last row would make and the first row of `read` read.
        before, after = (slice(2, 3), slice(0, 1)), (slice(0, 1), slice(2, 3))
        every = (slice(None), slice(None))
        outside = {
            "rows": [(side, every) for side in (before, after)],
            "columns": [(every, side) for side in (before, after)],
            "corners": [(down, right) for down in (before, after) for right in (before, after)],
        }
        self._outside = {
            name: torch.cat(
                [
                    self._over_frames(_merge(make[:, :, down[0], right[0]], read[..., down[1], right[1]]))
                    for down, right in sides
                ]
            ).contiguous(memory_format=torch.channels_last)
            for name, sides in outside.items()
        }

    def __call__(self, warped: Tensor) -> Tensor:
        """F_w^{D,M}, (B, C, H, W), to (T * B, C, H, W)."""
        windows = len(warped)
        hidden = activate(conv(split_frames(warped, self._num_frames), self._first))
        first = self._merged(hidden, windows)
        by_frame = [image.unflatten(0, (self._num_frames, windows)) for image in (hidden, first)]
        self._take_off_outside(*by_frame)
        del hidden, by_frame
        return self._last(activate(first), windows)

    def _over_frames(self, weight: Tensor) -> Tensor:
        """A (C', C, 3, k, l) kernel as one from all frames to all moments: (T * C', T * C, k, l)."""
        offsets = [self._layout.weight(part) for part in weight.unbind(2)]
        nothing = torch.zeros_like(offsets[0])
        moments = range(self._num_frames)
        rows = [
            torch.cat([offsets[time - moment + 1] if abs(time - moment) < 2 else nothing for time in moments], dim=1)
            for moment in moments
        ]
        return torch.cat(rows)

    def _take_off_outside(self, hidden: Tensor, first: Tensor) -> None:
        """`hidden` and `first`: (T, B, C, H, W); the latter is corrected."""
        ends = (0, -1)
        for axis, name in ((3, "rows"), (4, "columns")):
            weight = self._outside[name].flatten(2).unsqueeze(2)
            lines = [frame.select(axis - 1, end).permute(0, 2, 1) for end in ends for frame in hidden]
            joined = torch.cat(lines, dim=-1).permute(0, 2, 1).unsqueeze(2)
            added = convolved(joined, weight, padding=(0, 2), groups=2).squeeze(2).unflatten(1, (2, len(hidden), -1))
            for side, end in enumerate(ends):
                first.select(axis, end).sub_(added[:, side].transpose(0, 1))
        # Both have taken off what lies at the corners.
        corners = [(down, right) for down in ends for right in ends]
        joined = torch.cat([frame[:, :, down, right] for down, right in corners for frame in hidden], dim=1)
        added = convolved(joined[:, :, None, None], self._outside["corners"], groups=4)
        added = added.flatten(1).unflatten(1, (4, len(hidden), -1))
        for index, (down, right) in enumerate(corners):
            first[:, :, :, down, right].add_(added[:, index].transpose(0, 1))


def _merge(make: Tensor, read: Tensor) -> Tensor:
    """As `merge_kernels`, summed in float64."""
    if make.device.type == "mps":
        # Metal has no float64.
        make, read = make.cpu(), read.cpu()
    return merge_kernels(make.double(), read.double()).to(read.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """One convolution of a `WindowConv`."""

    frames: tuple[int, ...]
    """Which frames it reads, side by side."""
    summed: bool
    """Whether it reads their sum instead."""
    weight: Tensor
    """(C', C of all of them, k, k)."""


class WindowConv:
    """A convolution over the T frames of windows in time and space; zero lies around a window.

    With kernels A for the frame before, B for the frame itself and C for the one after it, two neighbouring moments
    need B twice: B x0 + C x1 and A x0 + B x1. Both are B (x0 + x1) and a rest, (C - B) x1 and (A - B) x0: three
    products instead of four.
    """

    def __init__(self, weight: Tensor, layout: Layout, num_frames: int) -> None:
        """`weight`: (C', C, 3, k, k)."""
        self._layout, self._num_frames = layout, num_frames
        before, itself, after = weight.unbind(2)
        self._pairs: list[tuple[_Step, _Step, _Step]] = []
        for moment in range(0, num_frames - 1, 2):
            first, second = {moment + 1: after - itself}, {moment: before - itself}
            if moment > 0:
                first[moment - 1] = before
            if moment + 2 < num_frames:
                second[moment + 2] = after
            both = _Step((moment, moment + 1), True, layout.weight(itself))
            self._pairs.append((both, self._step(first), self._step(second)))
        last = {num_frames - 1: itself} | ({num_frames - 2: before} if num_frames > 1 else {})
        self._last = self._step(last) if num_frames % 2 else None

    def _step(self, kernels: dict[int, Tensor]) -> _Step:
        # The inputs are rounded up once, behind all frames.
        return _Step(tuple(kernels), False, self._layout.weight(torch.cat(list(kernels.values()), dim=1)))

    def __call__(self, frames: Tensor, windows: int) -> Tensor:
        """(T * B, C, H, W) frames of B windows to (T * B, C', H, W)."""
        weight = self._pairs[0][0].weight if self._last is None else self._last.weight
        height, width = frames.shape[-2:]
        result = empty_image(frames, len(weight), batch=len(frames))
        moments, given = result.split(windows), frames.split(windows)
        zero = frames.new_zeros(1, 1, 1, 1)
        for strip in strips(height, self._layout.rows(width * windows, 2 * weight.shape[1]), weight.shape[-1] // 2):
            near = [strip.near(frame) for frame in given]
            for index, (both, first, second) in enumerate(self._pairs):
                common = self._convolved(strip, near, both, zero)
                for moment, step in zip(moments[2 * index :], (first, second), strict=False):
                    torch.add(common, self._convolved(strip, near, step, zero), out=strip.own(moment))
            if self._last is not None:
                strip.own(moments[-1]).copy_(self._convolved(strip, near, self._last, zero))
        return result

    def _convolved(self, strip: Strip, near: Sequence[Tensor], step: _Step, zero: Tensor) -> Tensor:
        read = [near[index] for index in step.frames]
        if step.summed:
            return strip.conv(read[0] + read[1], step.weight)
        missing = step.weight.shape[1] - len(read) * self._layout.dim
        if len(read) == 1:
            return strip.conv(read[0], step.weight)
        parts = [frame[:, : self._layout.dim] for frame in read]
        if missing:
            parts.append(zero.expand(len(read[0]), missing, *read[0].shape[2:]))
        return strip.conv(torch.cat(parts, dim=1), step.weight)
