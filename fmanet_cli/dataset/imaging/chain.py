"""Steps 5 to 12 of the imaging chain: from a blurred high-resolution clip to the 8-bit low-resolution file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fmanet_cli.dataset.imaging.coding import Coding
from fmanet_cli.dataset.imaging.optics import Optics
from fmanet_cli.dataset.imaging.reduction import reduce_image
from fmanet_cli.dataset.imaging.sensor import FilmGrain, SensorNoise
from fmanet_cli.dataset.imaging.sharpening import Unsharp
from fmanet_cli.model.config import SCALE

_WALK = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagingLevels:
    """How strong each step is for one clip; None or 0 leaves a step out."""

    optics: Optics | None = None
    kernel: str = "bicubic"
    """Of the reduction; one of `reduction.KERNELS`."""
    first_scale: float = 1.0
    """Size, in low-resolution sizes from 1 to 2, at which the file is first made; the platform then reduces it."""
    second_kernel: str = "bicubic"
    """Of the platform's reduction."""
    noise: SensorNoise | None = None
    grain: FilmGrain | None = None
    flicker: float = 0.0
    """Standard deviation of each frame's own brightness factor."""
    unsharp: Unsharp | None = None
    first_codec: Coding | None = None
    second_codec: Coding | None = None
    walks: bool = False
    """Whether noise and unsharp mask change slowly from frame to frame, by 5 % each."""


@dataclass(frozen=True, slots=True, eq=False)
class ImagedClip:
    """What the chain gives."""

    frames: np.ndarray
    """(T, H, W, 3) uint8: the low-resolution file."""
    clean: np.ndarray
    """(T, H, W, 3) float32 in [0, 1]: the same before sensor, sharpening and codec (after the reduction)."""


def image_clip(frames: Sequence[np.ndarray], levels: ImagingLevels, rng: np.random.Generator) -> ImagedClip:
    """Take blurred (4H, 4W, 3) float32 RGB frames in [0, 1], gamma-coded, through the chain.

    Noise, grain and flicker are drawn anew for every frame; codecs see the frames in order. Sides are multiples of 8
    where a codec follows.
    """
    height, width = (side // SCALE for side in frames[0].shape[:2])
    first_size = _even(height * levels.first_scale), _even(width * levels.first_scale)
    if levels.first_scale == 1.0:
        first_size = height, width
    lens = levels.optics
    reduced = [
        reduce_image(frame if lens is None else lens.blur(frame), first_size, levels.kernel).clip(0, 1)
        for frame in frames
    ]
    made = _camera(reduced, levels, rng)
    if levels.first_codec is not None:
        made = levels.first_codec.code([_eight_bits(frame) for frame in made])
    small = [_platform(frame, (height, width), levels) for frame in made]
    if levels.second_codec is not None:
        small = levels.second_codec.code(small)
    clean = [_platform(frame, (height, width), levels) for frame in reduced]
    return ImagedClip(np.rint(np.stack(small) * 255).astype(np.uint8), np.stack(clean))


def _camera(frames: Sequence[np.ndarray], levels: ImagingLevels, rng: np.random.Generator) -> list[np.ndarray]:
    walks = np.exp(np.cumsum(rng.standard_normal((2, len(frames))) * (_WALK if levels.walks else 0), axis=1))
    made = []
    for frame, noise_level, unsharp_level in zip(frames, *walks, strict=True):
        image = frame
        if levels.flicker:
            image = image * np.float32(1 + levels.flicker * rng.standard_normal())
        if levels.noise is not None:
            image = levels.noise.add(image, rng, level=float(noise_level))
        if levels.grain is not None:
            image = levels.grain.add(image, rng)
        image = image.clip(0, 1)
        if levels.unsharp is not None:
            image = levels.unsharp.sharpen(image, level=float(unsharp_level)).clip(0, 1)
        made.append(image)
    return made


def _platform(frame: np.ndarray, size: tuple[int, int], levels: ImagingLevels) -> np.ndarray:
    return reduce_image(frame, size, levels.second_kernel).clip(0, 1)


def _eight_bits(frame: np.ndarray) -> np.ndarray:
    return np.rint(frame * 255) / np.float32(255)


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2))
