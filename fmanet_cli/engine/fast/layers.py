"""How the streaming network's images lie in memory, in which strips it walks through them, and its convolutions.

Images are (N, C, H, W) tensors in the channels-last format.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fmanet_cli.engine.memory import channels_laid_out
from fmanet_cli.engine.stopping import check
from fmanet_cli.model.activation import NEGATIVE_SLOPE


@dataclass(frozen=True, slots=True)
class Layout:
    """Where and in which precision the streaming network's tensors live."""

    device: torch.device
    dtype: torch.dtype
    strip_bytes: int
    """About how many bytes the widest tensor of a strip may have."""
    channel_multiple: int = 1
    """Numbers of channels are rounded up to a multiple of this, as the hardware wants them; what is added is zero."""
    dim: int = 0
    """The network's feature channels C, which hold those of `num_frames` frames and are rounded up for each of them."""
    num_frames: int = 1
    """Window length T."""
    fused: bool = False
    """Whether Triton kernels are used."""

    def width(self, channels: int) -> int:
        """How many channels a tensor has here instead of so many; the real ones come first."""
        frames = self.num_frames if channels == self.dim else 1
        return channels_laid_out(channels, frames, self.channel_multiple)

    def padded(self, image: Tensor) -> Tensor:
        """(N, C, H, W) with C rounded up."""
        return lengthened(image, 1, self.width(image.shape[1]))

    def weight(self, weight: Any, *, inputs: Sequence[int] | None = None, outputs: int | None = None) -> Tensor:
        """A convolution weight, one-frame kernels made two-dimensional, in this precision and channels last.

        Args:
            weight: (C', C, k, k) or (C', C, 1, k, k).
            inputs: how many channels each of the tensors has that are concatenated to its input; None = one tensor.
            outputs: channels out; None = C' rounded up.
        """
        flat = _flat(weight)
        if flat.shape[1] > 1:
            parts = flat.split(list(inputs or flat.shape[1:2]), dim=1)
            flat = torch.cat([lengthened(part, 1, self.width(part.shape[1])) for part in parts], dim=1)
        flat = lengthened(flat, 0, outputs or self.width(len(flat)))
        return flat.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)

    def wide(self, weight: Any) -> Tensor:
        """The same in float32, for optical flow; nothing is rounded up."""
        return _flat(weight).to(self.device, torch.float32).contiguous(memory_format=torch.channels_last)

    def vector(self, values: Any) -> Tensor:
        """A parameter that is no convolution weight."""
        return lengthened(values.detach(), 0, self.width(len(values))).to(self.device, self.dtype)

    def frames_at_once(self, images: Tensor) -> int:
        """How many frames' like `images` (B, C, H, W) are computed together, which saves a GPU kernel starts."""
        if not self.fused:
            return 1
        size = images.numel() * images.element_size()
        return max(1, min(self.num_frames, self.strip_bytes // (2 * size)))

    def wide_taps(self, weight: Any) -> Tensor:
        """A depth-wise 3x3 convolution's weight (C, 1, 3, 3) as (9, C) float32, with C rounded up."""
        taps = weight.detach().flatten(1)
        return lengthened(taps, 0, self.width(len(taps))).t().to(self.device, torch.float32).contiguous()

    def rows(self, width: int, channels: int) -> int:
        """How many rows a strip has whose widest tensor has `channels` channels; `width` of all images together."""
        return max(8, self.strip_bytes // (width * channels * self.dtype.itemsize))


def _flat(weight: Any) -> Tensor:
    """A convolution weight, one-frame kernels made two-dimensional."""
    return weight.detach().squeeze(2) if weight.ndim == 5 else weight.detach()


def lengthened(values: Tensor, axis: int, length: int) -> Tensor:
    """With zeros at the end of an axis."""
    missing = length - values.shape[axis]
    return F.pad(values, (0, 0) * (values.ndim - 1 - axis) + (0, missing)) if missing else values


@dataclass(frozen=True, slots=True)
class Strip:
    """Some rows of an image and the rows around them that a local computation reads."""

    start: int
    """First row of the result."""
    stop: int
    """Last row of the result, plus one."""
    top: int
    """First row to read."""
    bottom: int
    """Last row to read, plus one."""
    edges: tuple[bool, bool]
    """Whether the rows read begin and end at the image's edge, where convolutions pad with zeros."""

    def near(self, image: Tensor) -> Tensor:
        """The rows to read."""
        return image[:, :, self.top : self.bottom]

    def own(self, image: Tensor) -> Tensor:
        """The rows of the result."""
        return image[:, :, self.start : self.stop]

    def conv(self, rows: Tensor, weight: Tensor, *, groups: int = 1) -> Tensor:
        """A convolution of rows read; its margin is used up at each side but the image's edges."""
        margin = weight.shape[-1] // 2
        if rows.device.type == "cpu" and any(self.edges) and not all(self.edges) and margin:
            # Here arithmetic is dearer than a copy.
            rows = F.pad(rows, (0, 0, margin * self.edges[0], margin * self.edges[1]))
            return convolved(rows, weight, padding=(0, margin), groups=groups)
        if not any(self.edges):
            return convolved(rows, weight, padding=(0, margin), groups=groups)
        # At an inner side some rows too many are computed, which costs less than a copy with zeros at the outer side.
        result = convolved(rows, weight, padding=margin, groups=groups)
        return result[:, :, 0 if self.edges[0] else margin : None if self.edges[1] else result.shape[2] - margin]


def strips(height: int, rows: int, halo: int) -> Iterator[Strip]:
    """Cut `height` rows into about equal strips of at most `rows` rows, each with `halo` rows around it."""
    count = max(1, -(-height // rows))
    borders = [round(index * height / count) for index in range(count + 1)]
    for start, stop in pairwise(borders):
        check()
        top, bottom = max(0, start - halo), min(height, stop + halo)
        yield Strip(start, stop, top, bottom, (top == 0, bottom == height))


def convolved(rows: Tensor, weight: Tensor, bias: Tensor | None = None, **options: Any) -> Tensor:
    """`conv2d`; on Metal, which computes parts of larger tensors wrongly, of a copy where `rows` is such a part."""
    if needs_whole_inputs(rows.device):
        rows = whole(rows)
    return F.conv2d(rows, weight, bias, **options)


def needs_whole_inputs(device: torch.device) -> bool:
    """Whether a device's convolutions need inputs that begin where their memory does and leave no gaps."""
    return device.type == "mps"


def whole(rows: Tensor) -> Tensor:
    """The same values, channels last, in memory of their own if they were a part of other memory."""
    if rows.storage_offset() == 0 and rows.is_contiguous(memory_format=torch.channels_last):
        return rows
    return rows.clone(memory_format=torch.channels_last)


def conv(image: Tensor, weight: Tensor) -> Tensor:
    """A convolution that keeps the size."""
    return convolved(image, weight, padding=weight.shape[-1] // 2)


def activate(image: Tensor) -> Tensor:
    """LeakyReLU in place."""
    return F.leaky_relu_(image, NEGATIVE_SLOPE)


def pixels(image: Tensor) -> Tensor:
    """(N, C, H, W), channels last, as (N * H * W, C): a view, through which the image can be written.

    Raises:
        RuntimeError: another order of memory, which has no such view.
    """
    return image.permute(0, 2, 3, 1).view(-1, image.shape[1])


def image_of(rows: Tensor, like: Tensor) -> Tensor:
    """(N * H * W, C) as (N, C, H, W), a view; sizes from `like`."""
    batch, _, height, width = like.shape
    return rows.view(batch, height, width, -1).permute(0, 3, 1, 2)


def empty_image(like: Tensor, channels: int, *, used: int | None = None, batch: int | None = None) -> Tensor:
    """(B, channels, H, W), channels last, not filled; zero behind the first `used` channels."""
    size = (batch or len(like), *like.shape[-2:], channels)
    image = torch.empty(size, dtype=like.dtype, device=like.device).permute(0, 3, 1, 2)
    if used is not None and used < channels:
        image[:, used:].zero_()
    return image


def split_frames(image: Tensor, num_frames: int) -> Tensor:
    """(B, C, H, W) with channels (c t) to (T * B, C / T, H, W), channels last."""
    frames = image.unflatten(1, (-1, num_frames)).permute(2, 0, 1, 3, 4).flatten(0, 1)
    return frames.contiguous(memory_format=torch.channels_last)
