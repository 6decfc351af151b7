"""The degradation kernels K^D, which Net^R can read without their being written."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fmanet_cli.model.layers import FrameConv, WindowConv, fold_frames, stack_neighbours, unfold_frames


@dataclass(frozen=True, slots=True, eq=False)
class DegradationKernels:
    """K^D before its last convolution, which is linear."""

    hidden: Tensor
    """(B, C, T, H, W): what that convolution takes."""
    conv: FrameConv
    """C to k_d * k_d channels, 3x3, no bias."""

    def logits(self) -> Tensor:
        """K^D before its softmax: (B, k_d * k_d, T, H, W)."""
        return self.conv(self.hidden)

    def read_by(self, reader: WindowConv) -> Tensor:
        """`reader` of the logits: (B, C', T, H, W).

        With `folded` set in the reader, both convolutions are one of 5x5x3 taps between thin tensors, a third of the
        arithmetic: the values are the same up to rounding.
        """
        if not reader.folded:
            return reader(self.logits())
        frames = self.hidden.shape[2]
        read = _join(fold_frames(self.hidden), self.conv.weight.squeeze(2), reader.weight, frames)
        return unfold_frames(read, frames)


def _join(image: Tensor, first: Tensor, second: Tensor, num_frames: int) -> Tensor:
    """Two convolutions in one.

    Args:
        image: (B * T, C, H, W).
        first: (K, C, 3, 3), each frame on its own.
        second: (C', K, 3, 3, 3).
        num_frames: T.

    Returns:
        (B * T, C', H, W).
    """
    # Sums over all K channels: they are not for 16 bits.
    with torch.autocast(image.device.type, enabled=False):
        joined = merge_kernels(first, second)
    result = F.conv2d(stack_neighbours(image, num_frames), joined.transpose(1, 2).flatten(1, 2), padding=2)
    reader = second.transpose(1, 2).flatten(1, 2)

    # The second convolution takes zeros around the frame, the joined one what the first makes there.
    def beyond(line: Tensor, writes: Tensor, reads: Tensor, *padding: tuple[int, int]) -> Tensor:
        outside = F.conv2d(line, writes, padding=padding[0])
        return F.conv2d(stack_neighbours(outside, num_frames), reads, padding=padding[1])

    top = beyond(image[:, :, :1], first[:, :, 2:], reader[:, :, :1], (0, 2), (0, 0))
    bottom = beyond(image[:, :, -1:], first[:, :, :1], reader[:, :, 2:], (0, 2), (0, 0))
    # Corners are above and below.
    left = beyond(image[..., :1], first[..., 2:], reader[..., :1], (1, 0), (1, 0))
    right = beyond(image[..., -1:], first[..., :1], reader[..., 2:], (1, 0), (1, 0))
    height, width = image.shape[-2:]
    border = F.pad(top, (0, 0, 0, height - 1)) + F.pad(bottom, (0, 0, height - 1, 0))
    return result - border - F.pad(left, (0, width - 1)) - F.pad(right, (width - 1, 0))


def merge_kernels(first: Tensor, second: Tensor) -> Tensor:
    """One kernel for two convolutions in a row, the second over frames too.

    Args:
        first: (K, C, a, b).
        second: (C', K, t, c, d).

    Returns:
        (C', C, t, a + c - 1, b + d - 1).
    """
    margins = first.shape[2] - 1, first.shape[3] - 1
    by_frame = second.transpose(1, 2)
    merged = F.conv2d(by_frame.flatten(0, 1), first.flip(-2, -1).transpose(0, 1), padding=margins)
    return merged.unflatten(0, by_frame.shape[:2]).transpose(1, 2)
