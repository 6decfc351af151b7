"""One class of recordings: the ranges from which each step of the chain is drawn."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fmanet_cli.dataset.imaging.chain import ImagingLevels
from fmanet_cli.dataset.imaging.coding import QUALITY_RANGES, Coding
from fmanet_cli.dataset.imaging.optics import Optics
from fmanet_cli.dataset.imaging.reduction import KERNELS
from fmanet_cli.dataset.imaging.sensor import FilmGrain, SensorNoise, typical_read_noise
from fmanet_cli.dataset.imaging.sharpening import Unsharp
from fmanet_cli.errors import OptionError

Range = tuple[float, float]

_BROOKS_SPREAD = 0.26

LIMITS: dict[str, Range] = {
    "highlights": (0, 4),
    "optics_sigma": (0.1, 8),
    "optics_ratio": (1, 4),
    "defocus_sigma": (0.1, 8),
    "defocus_radius": (0.5, 12),
    "shot": (1e-6, 0.1),
    "chroma_noise": (0, 4),
    "denoise_luma": (0, 4),
    "denoise_chroma": (0, 4),
    "grain": (0, 40),
    "grain_correlation": (0, 3),
    "flicker": (0, 0.2),
    "unsharp_amount": (0, 4),
    "unsharp_sigma": (0.3, 4),
    "coring": (0, 20),
    "overshoot_limit": (1, 255),
    "first_scale": (1, 2),
}
"""Outermost ends of every range of a `RecordingClass`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecRange:
    """A codec with its share among a step's codecs and the range of its quality number."""

    codec: str
    quality: Range
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.codec not in QUALITY_RANGES:
            raise OptionError(f"codec must be one of {', '.join(QUALITY_RANGES)}, got {self.codec!r}")
        if not _has_encoder(self.codec):
            raise OptionError(f"this build of FFmpeg has no encoder {self.codec}; leave it out of the mixture")
        _check_range(f"quality of {self.codec}", self.quality, QUALITY_RANGES[self.codec])
        if self.share < 0:
            raise OptionError(f"the share of {self.codec} must be 0 or more, got {self.share}")


def _has_encoder(codec: str) -> bool:
    """Whether this build of FFmpeg has it; without PyAV there is none, and everything else of training works."""
    try:
        from fmanet_cli.video.write.coding_loss import has_encoder
    except ModuleNotFoundError:
        return False
    return has_encoder(codec)


def available_codecs(*codecs: tuple[str, Range, float]) -> tuple[CodecRange, ...]:
    """The codecs that this build of FFmpeg has, for the defaults."""
    return tuple(
        CodecRange(codec=name, quality=quality, share=share) for name, quality, share in codecs if _has_encoder(name)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingClass:
    """Ranges of one class. Every step has a gate of its own, so that single defects and near-clean clips occur.

    Names ending in `_share` are probabilities, pairs are ends of a uniform draw (`shot`: of its logarithm).
    """

    highlights_share: float = 0.2
    """Clips with light beyond white; needs an exposure above 0.1."""
    highlights: Range = (0.25, 1.75)
    """Light added to white places, before averaging."""
    optics_share: float = 0.7
    optics_sigma: Range = (0.3, 2.4)
    """Standard deviation of the lens blur, high-resolution pixels."""
    stretched_share: float = 0.25
    """Of the lenses: with a longer axis."""
    optics_ratio: Range = (1.0, 2.0)
    defocus_share: float = 0.06
    """Of the clips with optics: out of focus, half by a Gaussian and half by a disc."""
    defocus_sigma: Range = (2.4, 4.5)
    defocus_radius: Range = (2.0, 5.0)
    kernels: Mapping[str, float] = field(
        default_factory=lambda: {
            "area": 0.40, "bicubic": 0.25, "bilinear": 0.15, "lanczos": 0.12, "sharp-bicubic": 0.08,
        }
    )  # fmt: skip
    """Shares of the reduction kernels."""
    noise_share: float = 0.6
    shot: Range = (1e-4, 4e-3)
    """Shot noise variance in linear light, drawn on a logarithmic scale; read noise follows it."""
    chroma_noise: Range = (0.5, 1.5)
    denoise_share: float = 0.5
    """Of the noisy clips: denoised in the camera."""
    denoise_luma: Range = (0.3, 0.9)
    """Standard deviation of the denoiser's Gaussian, pixels."""
    denoise_chroma: Range = (0.6, 1.5)
    denoise_picture_share: float = 0.2
    """Of the denoised clips: the image is softened too."""
    grain_share: float = 0.0
    grain: Range = (2.0, 10.0)
    """Standard deviation of film grain in code values."""
    grain_correlation: Range = (0.4, 1.0)
    flicker_share: float = 0.0
    flicker: Range = (0.002, 0.025)
    """Standard deviation of each frame's brightness factor."""
    unsharp_share: float = 0.75
    unsharp_amount: Range = (0.15, 1.5)
    unsharp_sigma: Range = (0.5, 1.6)
    luma_only_share: float = 0.7
    coring_share: float = 0.3
    coring: Range = (0.0, 3.0)
    """Code values of 255."""
    overshoot_limit_share: float = 0.3
    overshoot_limit: Range = (8.0, 40.0)
    """Code values of 255."""
    first_scale: Range = (1.0, 1.0)
    """Size of the first file in low-resolution sizes; above 1 a platform reduces it by bicubic or area."""
    first_codec_share: float = 0.7
    first_codecs: tuple[CodecRange, ...] = field(default_factory=lambda: available_codecs(("libx264", (15, 24), 1.0)))
    second_codec_share: float = 0.1
    second_codecs: tuple[CodecRange, ...] = field(default_factory=lambda: available_codecs(("libx264", (24, 33), 1.0)))

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if item.name.endswith("_share") and not 0 <= value <= 1:
                raise OptionError(f"{item.name} is a probability from 0 to 1, got {value}")
            if item.name in LIMITS:
                _check_range(item.name, value, LIMITS[item.name])
        unknown = set(self.kernels) - set(KERNELS)
        if unknown or not sum(self.kernels.values()) > 0 or min(self.kernels.values()) < 0:
            raise OptionError(f"kernels needs shares of {', '.join(KERNELS)}, got {dict(self.kernels)}")
        for name in ("first", "second"):
            if getattr(self, f"{name}_codec_share") and not sum(c.share for c in getattr(self, f"{name}_codecs")):
                raise OptionError(f"{name}_codec_share asks for a codec and {name}_codecs has none that can be used")

    def draw_levels(self, rng: np.random.Generator) -> ImagingLevels:
        """Draw the strengths of steps 5 to 11 for one clip."""
        first_scale = rng.uniform(*self.first_scale)
        return ImagingLevels(
            optics=self._draw_optics(rng),
            kernel=choose(rng, self.kernels),
            first_scale=float(first_scale),
            second_kernel="bicubic" if rng.random() < 0.5 else "area",
            noise=self._draw_noise(rng),
            grain=FilmGrain(sigma=rng.uniform(*self.grain), correlation=rng.uniform(*self.grain_correlation))
            if rng.random() < self.grain_share
            else None,
            flicker=rng.uniform(*self.flicker) if rng.random() < self.flicker_share else 0.0,
            unsharp=self._draw_unsharp(rng),
            walks=True,
            first_codec=_draw_coding(rng, self.first_codecs) if rng.random() < self.first_codec_share else None,
            second_codec=_draw_coding(rng, self.second_codecs) if rng.random() < self.second_codec_share else None,
        )

    def _draw_optics(self, rng: np.random.Generator) -> Optics | None:
        if rng.random() >= self.optics_share:
            return None
        if rng.random() < self.defocus_share:
            if rng.random() < 0.5:
                return Optics(disc_radius=rng.uniform(*self.defocus_radius))
            return Optics(sigma=rng.uniform(*self.defocus_sigma))
        ratio = rng.uniform(*self.optics_ratio) if rng.random() < self.stretched_share else 1.0
        return Optics(sigma=rng.uniform(*self.optics_sigma), ratio=ratio, angle=rng.uniform(0, math.pi))

    def _draw_noise(self, rng: np.random.Generator) -> SensorNoise | None:
        if rng.random() >= self.noise_share:
            return None
        shot = math.exp(rng.uniform(*np.log(self.shot)))
        denoised = rng.random() < self.denoise_share
        return SensorNoise(
            shot=shot,
            read=typical_read_noise(shot) * math.exp(rng.normal(0, _BROOKS_SPREAD)),
            chroma=rng.uniform(*self.chroma_noise),
            denoise_luma=rng.uniform(*self.denoise_luma) if denoised else 0.0,
            denoise_chroma=rng.uniform(*self.denoise_chroma) if denoised else 0.0,
            denoises_image=rng.random() < self.denoise_picture_share,
        )

    def _draw_unsharp(self, rng: np.random.Generator) -> Unsharp | None:
        if rng.random() >= self.unsharp_share:
            return None
        return Unsharp(
            amount=rng.uniform(*self.unsharp_amount),
            sigma=rng.uniform(*self.unsharp_sigma),
            luma_only=rng.random() < self.luma_only_share,
            coring=rng.uniform(*self.coring) if rng.random() < self.coring_share else 0.0,
            limit=rng.uniform(*self.overshoot_limit) if rng.random() < self.overshoot_limit_share else None,
        )


def _check_range(name: str, value: Range, limits: Range) -> None:
    if len(value) != 2 or not limits[0] <= value[0] <= value[1] <= limits[1]:
        raise OptionError(f"{name} must be a range inside {limits[0]} to {limits[1]}, got {value}")


def choose(rng: np.random.Generator, shares: Mapping[str, float]) -> str:
    """Draw a name in proportion to its share."""
    return list(shares)[choose_index(rng, list(shares.values()))]


def choose_index(rng: np.random.Generator, shares: Sequence[float]) -> int:
    """Draw the place of one of the shares in proportion to it."""
    weights = np.array(shares, float)
    return int(rng.choice(len(weights), p=weights / weights.sum()))


def _draw_coding(rng: np.random.Generator, codecs: tuple[CodecRange, ...]) -> Coding:
    item = codecs[choose_index(rng, [item.share for item in codecs])]
    return Coding(
        codec=item.codec,
        quality=rng.uniform(*item.quality),
        preset=choose(rng, {"medium": 0.5, "faster": 0.35, "slow": 0.15}),
        b_frames=int(rng.integers(0, 4)),
        group=int(rng.integers(30, 61)),
    )
