"""Sensor noise, the camera's own denoising, and the grain and flicker of film."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from fmanet_cli.dataset.imaging.light import light_to_srgb, srgb_to_light

LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601 weights of red, green and blue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorNoise:
    """Noise in linear light at low resolution, and what the camera does against it."""

    shot: float
    """Variance a unit of light, 1e-4 (daylight) to 1e-2 (night)."""
    read: float | None = None
    """Variance in the dark; None takes it from `shot` by the line of Brooks et al. (CVPR 2019)."""
    chroma: float = 1.0
    """Factor on the part of the noise that is not luma."""
    denoise_luma: float = 0.0
    """Standard deviation in pixels of the Gaussian over the luma noise; 0 leaves it sharp."""
    denoise_chroma: float = 0.0
    """The same over the chroma noise."""
    denoises_image: bool = False
    """Whether the same Gaussian also softens the image."""

    def add(self, image: np.ndarray, rng: np.random.Generator, *, level: float = 1.0) -> np.ndarray:
        """Add newly drawn noise to an (H, W, 3) float32 gamma-coded image; `level` multiplies its variance."""
        read = typical_read_noise(self.shot) if self.read is None else self.read
        light = srgb_to_light(image)
        deviation = np.sqrt(level * (self.shot * np.maximum(light, 0) + read))
        noisy = light_to_srgb(light + deviation * rng.standard_normal(image.shape, np.float32))
        noise = noisy - image
        luma = (noise @ LUMA_WEIGHTS)[..., None]
        chroma = self.chroma * (noise - luma)
        kept = _soften(image, self.denoise_luma) if self.denoises_image else image
        return kept + _soften(luma, self.denoise_luma) + _soften(chroma, self.denoise_chroma)


def typical_read_noise(shot: float) -> float:
    """Read noise variance that goes with a shot noise variance: ln read = 2.18 ln shot + 1.20 (Brooks et al.)."""
    return float(np.exp(2.18 * np.log(shot) + 1.20))


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmGrain:
    """Grain of film on the gamma-coded image."""

    sigma: float
    """Standard deviation in code values of 255."""
    correlation: float = 0.7
    """Standard deviation in pixels of the Gaussian that gives the grains their size; 0 for none."""

    def add(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Add newly drawn grain, the same in all channels, to an (H, W, 3) float32 image."""
        grain = _soften(rng.standard_normal((*image.shape[:2], 1), np.float32), self.correlation)
        return image + grain * np.float32(self.sigma / 255 / max(float(grain.std()), 1e-6))


def _soften(image: np.ndarray, sigma: float) -> np.ndarray:
    if not sigma:
        return image
    softened = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return softened.reshape(image.shape)
