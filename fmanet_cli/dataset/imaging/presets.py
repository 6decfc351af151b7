"""Fixed recordings that weights are judged by: the parameter values lie inside the training ranges on purpose."""

from __future__ import annotations

from dataclasses import dataclass

from fmanet_cli.dataset.imaging.chain import ImagingLevels
from fmanet_cli.dataset.imaging.coding import Coding
from fmanet_cli.dataset.imaging.optics import Optics
from fmanet_cli.dataset.imaging.sensor import FilmGrain, SensorNoise
from fmanet_cli.dataset.imaging.sharpening import Unsharp
from fmanet_cli.errors import OptionError

Conditions = tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One kind of recording."""

    levels: ImagingLevels
    exposures: Conditions
    """Exposures as shares of the frame interval, each for every clip; None is a clip without motion."""


def condition_name(exposure: float | None) -> str:
    """`still`, or `exposure 0.5`."""
    return "still" if exposure is None else f"exposure {exposure:g}"


PRESETS: dict[str, Preset] = {
    "clean": Preset(levels=ImagingLevels(), exposures=(None, 0.5, 0.8)),
    "camera": Preset(
        levels=ImagingLevels(
            optics=Optics(sigma=1.0),
            kernel="area",
            noise=SensorNoise(shot=3e-4),
            unsharp=Unsharp(amount=0.8),
            first_codec=Coding(quality=20),
        ),
        exposures=(None, 0.05, 0.5),
    ),
    "phone": Preset(
        levels=ImagingLevels(
            optics=Optics(sigma=1.6),
            kernel="area",
            noise=SensorNoise(shot=1.5e-3, denoise_luma=0.6, denoise_chroma=0.6),
            unsharp=Unsharp(amount=1.2, luma_only=True),
            first_codec=Coding(quality=23),
        ),
        exposures=(None, 0.1, 0.8),
    ),
    "social": Preset(
        levels=ImagingLevels(
            optics=Optics(sigma=1.6),
            kernel="area",
            first_scale=1.5,
            noise=SensorNoise(shot=1e-3),
            unsharp=Unsharp(amount=0.8),
            first_codec=Coding(quality=24),
            second_codec=Coding(quality=29),
        ),
        exposures=(None, 0.1, 0.8),
    ),
    "old-film": Preset(
        levels=ImagingLevels(
            optics=Optics(sigma=3.0),
            grain=FilmGrain(sigma=6.0),
            flicker=0.015,
            unsharp=Unsharp(amount=0.5, sigma=1.5),
            first_codec=Coding(codec="mpeg2video", quality=6),
        ),
        exposures=(None, 0.5, 0.8),
    ),
    "unsharp-0.4": Preset(levels=ImagingLevels(kernel="area", unsharp=Unsharp(amount=0.4)), exposures=(None,)),
    "unsharp-0.8": Preset(levels=ImagingLevels(kernel="area", unsharp=Unsharp(amount=0.8)), exposures=(None,)),
    "moving-sharp": Preset(levels=ImagingLevels(), exposures=(0.0,)),
}
"""By name: five kinds of recordings, then a sharpened image without a codec and motion without blur."""


def find_preset(name: str) -> Preset:
    """The preset of that name. Raises OptionError for another name."""
    if name not in PRESETS:
        raise OptionError(f"there is no preset {name!r}; choose from {', '.join(PRESETS)}")
    return PRESETS[name]
