"""Training windows: what every source of training data hands to the trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fmanet_cli.model.config import SCALE

CODED_FRAMES = 7
"""Frames that a codec sees for one window: enough for I-, P- and B-frames."""


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """What windows of every source have in common."""

    window_pixels: int = 32
    """Side of the square low-resolution window."""
    batch_windows: int = 8
    """Windows in a batch."""
    frames: int = 3
    """Frames in a window; odd."""

    def __post_init__(self) -> None:
        if self.frames % 2 == 0 or self.frames < 1:
            raise ValueError(f"frames must be odd, got {self.frames}")

    @property
    def sharp_pixels(self) -> int:
        """Side of the square high-resolution window."""
        return self.window_pixels * SCALE


@dataclass(frozen=True, slots=True, eq=False)
class WindowBatch:
    """A batch of training windows, all tensors on one device.

    Images are RGB in [0, 1], gamma-coded as in a file. T is odd; the middle frame is the one to restore.
    """

    blurry: Tensor
    """(B, 3, T, H, W) float: the blurry low-resolution frames, the network's input."""
    sharp: Tensor
    """(B, 3, T, 4H, 4W) float: the sharp frames at the middle of each exposure."""
    flow: Tensor
    """(B, 2, T, H, W) float, low-resolution pixels, channels (x, y): from the middle frame to frame t."""
    flow_valid: Tensor
    """(B, 1, T, H, W) float, 1 where `flow` is known and the pixel is visible in frame t, else 0."""
    blurry_clean: Tensor | None = None
    """(B, 3, T, H, W) float: `blurry` before noise, sharpening and codec, what Eq. 8 rebuilds: positive kernels of
    sum 1 can draw no halo. None: `blurry` itself."""

    def __post_init__(self) -> None:
        batch, _, frames, height, width = self.blurry.shape
        expected = {
            "blurry": (batch, 3, frames, height, width),
            "sharp": (batch, 3, frames, SCALE * height, SCALE * width),
            "flow": (batch, 2, frames, height, width),
            "flow_valid": (batch, 1, frames, height, width),
        }
        if self.blurry_clean is not None:
            expected["blurry_clean"] = expected["blurry"]
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"{name} must have shape {shape}, got {tuple(getattr(self, name).shape)}")

    def to(self, device: torch.device) -> WindowBatch:
        """The same batch on `device`."""
        return map_batch(self, lambda tensor: tensor.to(device, non_blocking=True))


def map_batch(batch: WindowBatch, change: Callable[[Tensor], Tensor]) -> WindowBatch:
    """The batch with `change` applied to every tensor that it has."""
    return WindowBatch(*(None if tensor is None else change(tensor) for tensor in tensors_of(batch)))  # type: ignore[arg-type]


def tensors_of(batch: WindowBatch) -> tuple[Tensor | None, ...]:
    """The tensors of a batch in the order in which they are declared."""
    return tuple(getattr(batch, item.name) for item in fields(WindowBatch))


def join_batches(parts: Sequence[WindowBatch]) -> WindowBatch:
    """The windows of several batches as one; `blurry_clean` is kept where all have it."""
    columns = zip(*(tensors_of(part) for part in parts), strict=True)
    joined = (None if any(tensor is None for tensor in column) else torch.cat(column) for column in columns)
    return WindowBatch(*joined)  # type: ignore[arg-type]


class WindowSource(Protocol):
    """Makes batches of windows. A batch depends on its number alone, so that a resumed run sees the same ones."""

    def batch(self, index: int) -> WindowBatch:
        """Batch number `index` (0 or more); the same number gives the same batch."""
        ...


def batch_generator(seed: int, index: int) -> torch.Generator:
    """A CPU generator for batch `index` of a run seeded with `seed`; neighbouring numbers are unrelated."""
    mixed = (seed * 0x9E3779B97F4A7C15 + index * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) & (2**63 - 1)
    generator = torch.Generator()
    generator.manual_seed(mixed)
    return generator


def downscale(images: Tensor) -> Tensor:
    """(N, C, 4H, 4W) to (N, C, H, W): antialiased bicubic (a = -0.5) as in REDS, clamped to [0, 1]."""
    height, width = images.shape[-2] // SCALE, images.shape[-1] // SCALE
    return F.interpolate(images, size=(height, width), mode="bicubic", align_corners=False, antialias=True).clamp(
        0.0, 1.0
    )


def downscale_window(window: Tensor) -> Tensor:
    """(B, C, T, 4H, 4W) to (B, C, T, H, W) with `downscale`."""
    batch, channels, frames, height, width = window.shape
    images = window.transpose(1, 2).reshape(batch * frames, channels, height, width)
    small = downscale(images)
    return small.reshape(batch, frames, channels, height // SCALE, width // SCALE).transpose(1, 2).contiguous()


def detail(image: Tensor, *, block_pixels: int = 32) -> Tensor:
    """(3, H, W) in [0, 1] to (H // block, W // block): mean absolute difference of neighbouring pixels."""
    luma = image.mean(0, keepdim=True)
    across = (luma[:, :-1, 1:] - luma[:, :-1, :-1]).abs()
    down = (luma[:, 1:, :-1] - luma[:, :-1, :-1]).abs()
    return F.avg_pool2d(F.pad(across + down, (0, 1, 0, 1))[None], block_pixels)[0, 0]


def coding_order(frames: int, rng: np.random.Generator, *, spare: int = 1) -> tuple[list[int], int]:
    """Draw which frame is coded when, and the place in that order where the window starts.

    There are `frames` and `spare` more on each side, mirrored in time at both ends; the window's own, from number
    `spare` on, stand together.
    """
    first = int(rng.integers(0, CODED_FRAMES - frames + 1))
    period = max(1, 2 * (frames + 2 * spare - 1))
    order = [(number - first + spare) % period for number in range(CODED_FRAMES)]
    return [min(number, period - number) for number in order], first


def to_window(images: np.ndarray) -> Tensor:
    """(T, H, W, C) to a window (1, C, T, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(3, 0, 1, 2)))[None]
