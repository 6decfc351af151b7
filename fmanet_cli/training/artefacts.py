"""Sensor noise and codec artefacts for low-resolution training frames."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK = 8

# The quantisation tables of ITU-T T.81 Annex K, the ones that most encoders scale.
_LUMA_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_STEP = 99.0
_CHROMA_CORNER = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))

_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def add_sensor_noise(window: Tensor, strength: Tensor, *, generator: torch.Generator) -> Tensor:
    """Add noise with a constant and a light-dependent part to a (B, C, T, H, W) window in [0, 1].

    ``strength`` is (B,), the standard deviation at full light; 0 leaves a window as it is. The generator lives on the
    window's device.
    """
    noise = torch.randn(window.shape, generator=generator, device=window.device, dtype=window.dtype)
    deviation = strength.view(-1, 1, 1, 1, 1) * (0.3 + 0.7 * window.clamp(0.0, 1.0).sqrt())
    return (window + deviation * noise).clamp(0.0, 1.0)


def add_codec_artefacts(window: Tensor, quality: Tensor, *, origin: tuple[int, int] = (0, 0)) -> Tensor:
    """Quantise the 8x8 cosine transform of a (B, 3, T, H, W) RGB window in [0, 1], as JPEG and intra-coded video do.

    ``quality`` is (B,) from 1 (coarse) to 100 (fine), on the scale of the JPEG reference encoder; ``origin`` (y, x)
    says how many pixels of a block lie above and left of the window, whose edges rarely meet those of a video's
    blocks. Colour is coded at half the resolution. Returns values in [0, 1].
    """
    batch, _, frames, height, width = window.shape
    images = window.transpose(1, 2).reshape(batch * frames, 3, height, width) * 255.0
    top, left = origin
    pad = (left, -(left + width) % (2 * _BLOCK), top, -(top + height) % (2 * _BLOCK))
    matrix = torch.tensor(_TO_YCBCR, device=window.device, dtype=window.dtype)
    planes = torch.einsum("ij,njhw->nihw", matrix, F.pad(images, pad, mode="replicate"))
    factor = _step_factor(quality).repeat_interleave(frames).view(-1, 1, 1, 1, 1, 1)
    luma = _quantise(planes[:, :1] - 128.0, _steps(_LUMA_STEPS, window), factor) + 128.0
    small = _quantise(F.avg_pool2d(planes[:, 1:], 2), _chroma_steps(window), factor)
    chroma = F.interpolate(small, size=planes.shape[-2:], mode="bilinear", align_corners=False)
    coded = torch.einsum("ij,njhw->nihw", torch.linalg.inv(matrix), torch.cat([luma, chroma], 1))
    coded = (coded[..., top : top + height, left : left + width] / 255.0).clamp(0.0, 1.0)
    return coded.reshape(batch, frames, 3, height, width).transpose(1, 2).contiguous()


def _step_factor(quality: Tensor) -> Tensor:
    quality = quality.clamp(1.0, 100.0)
    return torch.where(quality < 50.0, 50.0 / quality, 2.0 - quality / 50.0)


def _steps(table: tuple[tuple[int, ...], ...], like: Tensor) -> Tensor:
    return torch.tensor(table, device=like.device, dtype=like.dtype)


def _chroma_steps(like: Tensor) -> Tensor:
    steps = torch.full((_BLOCK, _BLOCK), _CHROMA_STEP, device=like.device, dtype=like.dtype)
    steps[:4, :4] = _steps(_CHROMA_CORNER, like)
    return steps


def _cosine_matrix(like: Tensor) -> Tensor:
    index = torch.arange(_BLOCK, dtype=torch.float64)
    matrix = torch.cos(math.pi * (2 * index[None] + 1) * index[:, None] / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
    matrix[0] /= math.sqrt(2)
    return matrix.to(device=like.device, dtype=like.dtype)


def _quantise(planes: Tensor, steps: Tensor, factor: Tensor) -> Tensor:
    count, channels, height, width = planes.shape
    blocks = planes.reshape(count, channels, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).transpose(3, 4)
    cosine = _cosine_matrix(planes)
    scaled = (steps * factor).clamp(min=1.0)
    coefficients = cosine @ blocks @ cosine.T
    restored = cosine.T @ (torch.round(coefficients / scaled) * scaled) @ cosine
    return restored.transpose(3, 4).reshape(count, channels, height, width)
