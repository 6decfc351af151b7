"""Convolutions on windows of frames, and the residual dense blocks made of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmanet_cli.model.activation import Activation, append_activated, join_channels


class Folding(nn.Module):
    """What can compute frames folded into the batch, in two dimensions, channels last.

    With `folded` set, a (B, C, T, H, W) window is folded before and unfolded after all that a module does. The values
    are the same up to rounding; on a CPU it is several times faster. Tensors in the `channels_last_3d` memory format
    are folded without a copy.
    """

    folded = False

    def by_frames(self, compute: Callable[[Tensor], Tensor], window: Tensor) -> Tensor:
        """`compute(window)`, folded if asked; frames that an outer module has folded stay so."""
        if not self.folded or window.ndim == 4:
            return compute(window)
        return unfold_frames(compute(fold_frames(window)), window.shape[2])


class FrameConv(Folding, nn.Conv3d):
    """A convolution with kernel (1, k, k): each frame of a window on its own, size kept."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, *, bias: bool = False) -> None:
        padding = kernel_size // 2
        super().__init__(
            in_channels, out_channels, (1, kernel_size, kernel_size), padding=(0, padding, padding), bias=bias
        )

    def forward(self, window: Tensor) -> Tensor:
        """(B, C, T, H, W) to (B, C', T, H, W), or folded frames (B * T, C, H, W) to (B * T, C', H, W)."""
        return self.by_frames(self._convolve, window)

    def _convolve(self, window: Tensor) -> Tensor:
        if window.ndim == 5:
            return super().forward(window)
        return F.conv2d(window, self.weight.squeeze(2), self.bias, padding=self.padding[1:])


class WindowConv(Folding, nn.Conv3d):
    """A true 3x3x3 convolution over a (B, C, T, H, W) window, size kept, no bias.

    With `folded` set, the three neighbours in time are stacked as channels and convolved in two dimensions.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=False)

    def forward(self, window: Tensor) -> Tensor:
        """(B, C, T, H, W) to (B, C', T, H, W)."""
        if not self.folded:
            return super().forward(window)
        stacked = stack_neighbours(fold_frames(window), window.shape[2])
        weight = self.weight.transpose(1, 2).flatten(1, 2)
        return unfold_frames(F.conv2d(stacked, weight, padding=1), window.shape[2])


def fold_frames(window: Tensor) -> Tensor:
    """(B, C, T, H, W) to (B * T, C, H, W), channels last; a view if the window is `channels_last_3d`."""
    return window.permute(0, 2, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2)


def unfold_frames(frames: Tensor, num_frames: int) -> Tensor:
    """(B * T, C, H, W) to (B, C, T, H, W), the inverse of `fold_frames`."""
    return frames.unflatten(0, (-1, num_frames)).transpose(1, 2)


def stack_neighbours(frames: Tensor, num_frames: int) -> Tensor:
    """(B * T, C, H, W) to (B * T, 3C, H, W), channels last: the frame before, each frame, the frame after.

    Before the first frame and after the last there is zero.
    """
    windows = frames.permute(0, 2, 3, 1).unflatten(0, (-1, num_frames))
    # Zeros are joined, not padded: padding in five dimensions is silently wrong on MPS.
    nothing = torch.zeros_like(windows[:, :1])
    padded = torch.cat((nothing, windows, nothing), dim=1)
    return torch.cat((padded[:, :-2], windows, padded[:, 2:]), dim=-1).flatten(0, 1).permute(0, 3, 1, 2)


def repeat_frame(frame: Tensor, num_frames: int) -> Tensor:
    """(B, C, H, W) to (B, C, T, H, W), the same frame T times."""
    return frame.unsqueeze(2).expand(-1, -1, num_frames, -1, -1)


def frames_to_channels(window: Tensor) -> Tensor:
    """(B, C, T, H, W) to (B, C * T, H, W), the frame index running fastest (r_4->3 in paper Eq. 3)."""
    return window.flatten(1, 2)


def channels_to_frames(image: Tensor, num_frames: int) -> Tensor:
    """(B, C * T, H, W) to (B, C, T, H, W), the inverse of `frames_to_channels`."""
    return image.unflatten(1, (-1, num_frames))


class FrameStack(Folding, nn.Sequential):
    """Layers that compute each frame on its own, folded once around all of them."""

    def forward(self, window: Tensor) -> Tensor:
        """(B, C, T, H, W) to (B, C', T, H, W)."""
        return self.by_frames(super().forward, window)


def two_convs(in_channels: int, hidden: int, out_channels: int) -> FrameStack:
    """Two 3x3 frame convolutions with an activation between them, the usual head."""
    return FrameStack(FrameConv(in_channels, hidden), Activation(), FrameConv(hidden, out_channels))


class FlowHead(FrameStack):
    """Two 3x3 frame convolutions that predict optical flow; the second runs in float32 under autocast.

    A 16-bit flow of 20 pixels is off by up to 0.06 pixel (bfloat16), which the warp would show.
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int) -> None:
        super().__init__(FrameConv(in_channels, hidden), Activation(), FrameConv(hidden, out_channels))

    def forward(self, window: Tensor) -> Tensor:
        """(B, C, T, H, W) to (B, C', T, H, W), at least float32."""
        return self.by_frames(self._predict, window)

    def _predict(self, window: Tensor) -> Tensor:
        hidden = self[1](self[0](window))
        with torch.autocast(hidden.device.type, enabled=False):
            wide = hidden if hidden.dtype == torch.float64 else hidden.float()
            return self[2](wide)


class DenseLayer(nn.Module):
    """Appends `growth` new channels to its input."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.conv = FrameConv(in_channels, growth)

    def forward(self, window: Tensor) -> Tensor:
        """(B, C, T, H, W) to (B, C + growth, T, H, W)."""
        return append_activated(window, self.conv(window))


class ResidualDenseBlock(Folding):
    """RDB: densely connected layers, a 1x1 fusion with bias, and a skip connection (paper section 3.2)."""

    def __init__(self, dim: int, growth: int, num_layers: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(*(DenseLayer(dim + growth * index, growth) for index in range(num_layers)))
        self.conv = FrameConv(dim + growth * num_layers, dim, 1, bias=True)

    def forward(self, window: Tensor) -> Tensor:
        """(B, C, T, H, W), same shape out."""
        return self.by_frames(lambda frames: self.conv(self.layer(frames)) + frames, window)


class ResidualDenseChain(Folding):
    """RRDB: RDBs in series, the outputs of all of them fused, and a skip connection without scaling."""

    def __init__(self, dim: int, growth: int, num_layers: int, num_rdbs: int) -> None:
        super().__init__()
        self.RDBs = nn.ModuleList(ResidualDenseBlock(dim, growth, num_layers) for _ in range(num_rdbs))
        self.conv = nn.Sequential(FrameConv(dim * num_rdbs, dim, 1), FrameConv(dim, dim))

    def forward(self, window: Tensor) -> Tensor:
        """(B, C, T, H, W), same shape out."""
        return self.by_frames(self._refine, window)

    def _refine(self, window: Tensor) -> Tensor:
        outputs = []
        features = window
        for block in self.RDBs:
            features = block(features)
            outputs.append(features)
        return self.conv(join_channels(*outputs)) + window


def feature_extractor(in_channels: int, dim: int, growth: int, num_layers: int, num_rdbs: int) -> FrameStack:
    """The per-frame feature extractor at the head of both networks."""
    return FrameStack(FrameConv(in_channels, dim), Activation(), ResidualDenseChain(dim, growth, num_layers, num_rdbs))
