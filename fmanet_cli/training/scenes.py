"""Scenes of moving layers: their light over an exposure, and their exact optical flow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fmanet_cli.training.motion import Motions, invert_affine
from fmanet_cli.training.windows import SCALE

_STEP_PIXELS = 2.0
_MOST_MOMENTS = 25


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One moving layer of a scene."""

    texture: np.ndarray
    """(P, P, 4) float32: light times opacity, and opacity; (P, P, 3) light for an opaque one."""
    path: Motions
    """Of one window."""

    def maps(self, times: Sequence[float]) -> np.ndarray:
        """(S, 2, 3) maps at `times` from window to layer, both measured from their centres."""
        return self.path.affine(torch.tensor([times], dtype=torch.float32))[0].double().numpy()

    def show(self, affine: np.ndarray, size: int, offset: tuple[int, int], *, exact: bool) -> np.ndarray:
        """(size, size, 3 or 4) float32: the layer under one of its maps; an opaque one is mirrored at its border.

        `offset` (x, y) is the middle of what is shown from the middle of the window. `exact` interpolates by cubics
        instead of lines.
        """
        middle = (size - 1) / 2
        source = (self.texture.shape[0] - 1) / 2
        linear, shift = affine[:, :2], affine[:, 2]
        moved = shift + linear @ (np.array(offset, np.float64) - middle) + source
        return cv2.warpAffine(
            self.texture,
            np.column_stack([linear, moved]),
            (size, size),
            flags=(cv2.INTER_CUBIC if exact else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101 if self.texture.shape[2] == 3 else cv2.BORDER_CONSTANT,
        )


class Scene:
    """A background and the shapes before it, seen through a square window."""

    def __init__(self, layers: Sequence[Layer], *, window_pixels: int) -> None:
        """Take the layers, the opaque background first, and the side of the low-resolution window."""
        self.layers = layers
        self.window_pixels = window_pixels

    def light(
        self, times: Sequence[float], size: int, offset: tuple[int, int] = (0, 0), *, exact: bool = True
    ) -> Iterator[np.ndarray]:
        """Yield (size, size, 3) float32: the light at each of `times` (frames from the middle one)."""
        for affines in zip(*(layer.maps(times) for layer in self.layers), strict=True):
            image = self.layers[0].show(affines[0], size, offset, exact=exact)
            for layer, affine in zip(self.layers[1:], affines[1:], strict=True):
                shown = layer.show(affine, size, offset, exact=exact)
                # OpenCV's channel shuffles are many times faster than arithmetic across numpy's short last axis.
                image -= image * cv2.cvtColor(cv2.extractChannel(shown, 3), cv2.COLOR_GRAY2RGB)
                image += cv2.cvtColor(shown, cv2.COLOR_RGBA2RGB)
            yield image

    def exposed(self, time: float, exposure: float, size: int, offset: tuple[int, int]) -> np.ndarray:
        """(size, size, 3) float32: the mean light while the shutter is open, `exposure` frames around `time`."""
        way = self._way(time, exposure, size)
        # One moment is exact in place; interpolation by lines softens, which many moments hide.
        count = 1 if way < 0.1 else max(3, min(math.ceil(way / _STEP_PIXELS) | 1, _MOST_MOMENTS))
        moments = time + exposure * ((np.arange(count) + 0.5) / count - 0.5)
        total = np.zeros((size, size, 3), np.float32)
        for image in self.light(moments.tolist(), size, offset, exact=count <= 3):
            total += image
        return total / np.float32(count)

    def _way(self, time: float, exposure: float, size: int) -> float:
        """Longest way of a corner or the middle of any layer during the exposure, in high-resolution pixels."""
        places = np.array([[-1.0, -1.0, 2 / size], [1.0, 1.0, 2 / size], [0.0, 0.0, 2 / size]]) * size / 2
        ends = [layer.maps([time - exposure / 2, time + exposure / 2]) for layer in self.layers]
        return max(float(np.linalg.norm(places @ (end - start).T, axis=1).max()) for start, end in ends)

    def flow(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Exact flow from the middle frame to each of T times and where it is visible, at low resolution.

        Returns (2, T, H, W) in low-resolution pixels, channels (x, y), and (1, T, H, W) of 1 and 0.
        """
        size = self.window_pixels
        points = pixel_centres(size) * SCALE
        target = points.expand(len(times), -1, -1, -1)
        owner = torch.zeros(size, size, dtype=torch.long)
        opacities = [torch.from_numpy(layer.texture[..., -1]) for layer in self.layers]
        for number, layer in enumerate(self.layers):
            owns = _look_up(opacities[number], points[None])[0] > 0.5 if number else torch.ones_like(owner).bool()
            moved = _apply(invert_affine(layer.path.affine(times[None])[0]), points.expand_as(target))
            target = torch.where(owns[None, ..., None], moved, target)
            owner = torch.where(owns, number, owner)
        valid = (target.abs() <= size * SCALE / 2).all(-1)
        for number, layer in enumerate(self.layers[1:], start=1):
            seen_at = _apply(layer.path.affine(times[None])[0], target)
            valid &= ~((_look_up(opacities[number], seen_at) > 0.5) & (owner < number))
        return ((target - points) / SCALE).permute(3, 0, 1, 2).contiguous(), valid[None].float()


def pixel_centres(size: int) -> Tensor:
    """(size, size, 2) pixel centres (x, y), measured from the middle."""
    line = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    return torch.stack(torch.meshgrid(line, line, indexing="ij")[::-1], -1)


def draw_mask(size: int, window: int, generator: torch.Generator) -> np.ndarray:
    """(size, size, 1) soft-edged shape in [0, 1]: a blob whose radius varies with the angle, some stretched to bars."""
    draws = torch.rand(6, generator=generator).tolist()
    waves = (torch.randn(5, generator=generator) * 0.18).tolist()
    phases = (2 * math.pi * torch.rand(5, generator=generator)).tolist()
    points = pixel_centres(size) - (torch.tensor(draws[:2]) - 0.5) * window * 0.9
    cos, sin = math.cos(draws[2] * math.pi), math.sin(draws[2] * math.pi)
    stretch = 1.0 + 5.0 * draws[3] ** 3
    along = (points[..., 0] * cos + points[..., 1] * sin) / stretch
    across = (points[..., 1] * cos - points[..., 0] * sin) * math.sqrt(stretch)
    angle, distance = torch.atan2(across, along), torch.hypot(along, across)
    radius = window * (0.08 + 0.32 * draws[4])
    ripple = sum(wave * torch.cos((k + 2) * angle + phases[k]) for k, wave in enumerate(waves))
    softness = 0.4 + 1.6 * draws[5] ** 2
    return torch.sigmoid((radius * (1.0 + ripple) - distance) / softness)[..., None].numpy()


def _apply(affine: Tensor, points: Tensor) -> Tensor:
    """(S, 2, 3) maps of (S, H, W, 2) points to (S, H, W, 2)."""
    return torch.einsum("sij,shwj->shwi", affine[..., :2], points) + affine[:, None, None, :, 2]


def _look_up(opacity: Tensor, points: Tensor) -> Tensor:
    """(P, P) at (S, H, W, 2) points, measured from its centre in pixels, to (S, H, W); 0 outside."""
    grid = points * (2.0 / (opacity.shape[-1] - 1))
    planes = opacity.expand(len(points), 1, -1, -1)
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=True)[:, 0]
