"""Mixtures: which classes of recordings training sees, and in which shares."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fmanet_cli import files
from fmanet_cli.dataset.imaging.light import LIGHT_CURVES
from fmanet_cli.dataset.imaging.recordings import LIMITS, CodecRange, RecordingClass, available_codecs, choose
from fmanet_cli.errors import OptionError


def _clean() -> RecordingClass:
    return RecordingClass(
        highlights_share=0, optics_share=0, kernels={"bicubic": 0.5, "area": 0.5}, noise_share=0, unsharp_share=0,
        first_codec_share=0, second_codec_share=0,
    )  # fmt: skip


def _camera() -> RecordingClass:
    return RecordingClass(first_codecs=available_codecs(("libx264", (15, 24), 0.9), ("mjpeg", (2, 8), 0.1)))


def _phone() -> RecordingClass:
    codecs = available_codecs(("libx264", (18, 27), 1.0))
    return RecordingClass(unsharp_share=0.85, first_codec_share=0.9, first_codecs=codecs)


def _social() -> RecordingClass:
    return RecordingClass(
        unsharp_share=0.6, first_scale=(1.0, 2.0), first_codec_share=1, second_codec_share=1,
        first_codecs=available_codecs(("libx264", (20, 28), 1.0)),
    )  # fmt: skip


def _old() -> RecordingClass:
    return RecordingClass(
        optics_sigma=(0.6, 3.6), unsharp_share=0.4, grain_share=0.5, flicker_share=0.5, first_codec_share=0.8,
        first_codecs=available_codecs(("mpeg2video", (3, 12), 0.5), ("mpeg4", (3, 12), 0.5)),
    )  # fmt: skip


_CLASSES = {"clean": _clean, "camera": _camera, "phone": _phone, "social": _social, "old": _old}

DEFAULT_SHARES = {"clean": 0.25, "camera": 0.30, "phone": 0.20, "social": 0.20, "old": 0.05}


@dataclass(frozen=True, slots=True)
class Mixture:
    """Which share of the windows is of which class, and how light is averaged in all of them."""

    shares: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_SHARES))
    """By class; only their ratios count."""
    classes: Mapping[str, RecordingClass] = field(default_factory=lambda: {n: make() for n, make in _CLASSES.items()})
    """By name."""
    light_curves: Mapping[str, float] = field(
        default_factory=lambda: {"gamma": 0.4, "srgb": 0.2, "tone": 0.2, "code": 0.2}
    )
    """Shares of the curves under which an exposure is averaged."""

    def __post_init__(self) -> None:
        for name, shares, known in (
            ("shares", self.shares, tuple(self.classes)),
            ("light_curves", self.light_curves, LIGHT_CURVES),
        ):
            wrong = [key for key, value in shares.items() if key not in known or not value >= 0]
            if wrong or not sum(shares.values()) > 0:
                raise OptionError(
                    f"{name} of a mixture needs numbers from 0, one above it, of {', '.join(known)}; got {dict(shares)}"
                )

    def draw_class(self, rng: np.random.Generator) -> RecordingClass:
        """Draw the class of one window."""
        return self.classes[choose(rng, self.shares)]

    def draw_light_curve(self, rng: np.random.Generator) -> Any:
        """Draw the light curve of one window."""
        return choose(rng, self.light_curves)


def read_mixture(text: str) -> Mixture:
    """Read a mixture as people write it: a word, shares such as `clean=25,camera=75`, or the name of a JSON file.

    `off` is the clean class alone, reduced by bicubic; `uncoded` is all classes without their codecs, for machines
    without PyAV. The JSON object may hold `shares`, `light_curves` and, for
    each class that it changes, an object of the fields of `RecordingClass`; what it leaves out stays as the default.
    Raises OptionError with what is wrong.
    """
    if text == "off":
        return clean_mixture()
    if text == "uncoded":
        return uncoded_mixture()
    if "=" in text and not Path(text).exists():
        return Mixture(shares=_read_shares(text))
    try:
        data = json.loads(files.read_text(Path(text)))
    except OSError as error:
        raise OptionError(
            f"cannot read the mixture {text}: {error.strerror}; give a JSON file, shares such as clean=25,camera=75, "
            "or off"
        ) from error
    except ValueError as error:
        raise OptionError(f"the mixture {text} is no JSON: {error}") from error
    return mixture_from_json(data)


def clean_mixture() -> Mixture:
    """Sharp reduction by bicubic (a = -0.5) and averaging with the exponent 2.2 alone: no camera."""
    clean = dataclasses.replace(_clean(), kernels={"bicubic": 1.0})
    return Mixture(shares={"clean": 1.0}, classes={"clean": clean}, light_curves={"gamma": 1.0})


def uncoded_mixture() -> Mixture:
    """All classes without their codecs; those of one sensor and lens differ in sharpening alone."""
    uncoded: dict[str, Any] = {"first_codec_share": 0, "second_codec_share": 0, "first_codecs": (), "second_codecs": ()}
    sharpened = {"camera": 0.75, "phone": 0.85, "social": 0.6}
    classes = {name: RecordingClass(unsharp_share=share, **uncoded) for name, share in sharpened.items()}
    classes["clean"] = _clean()
    classes["old"] = RecordingClass(
        optics_sigma=(0.6, 3.6), unsharp_share=0.4, grain_share=0.5, flicker_share=0.5, **uncoded
    )
    return Mixture(classes=classes)


def mixture_from_json(data: Any) -> Mixture:
    """A mixture from the object that `read_mixture` describes. Raises OptionError with what is wrong."""
    if not isinstance(data, dict):
        raise OptionError("a mixture is a JSON object with shares, light_curves and classes")
    classes = {name: make() for name, make in _CLASSES.items()}
    for name, changes in data.items():
        if name in ("shares", "light_curves"):
            continue
        if name not in classes or not isinstance(changes, dict):
            raise OptionError(f"a mixture has shares, light_curves and the classes {', '.join(classes)}, not {name!r}")
        classes[name] = _changed(name, classes[name], changes)
    try:
        return Mixture(
            shares=dict(data.get("shares", DEFAULT_SHARES)),
            classes=classes,
            **({"light_curves": dict(data["light_curves"])} if "light_curves" in data else {}),
        )
    except (TypeError, ValueError) as error:
        raise OptionError(f"shares and light_curves of a mixture map names to numbers: {error}") from error


def _changed(name: str, recordings: RecordingClass, changes: dict[str, Any]) -> RecordingClass:
    known = {item.name for item in dataclasses.fields(RecordingClass)}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise OptionError(f"class {name} of a mixture has no {unknown[0]!r}; it has {', '.join(sorted(known))}")
    try:
        values = {key: _from_json(key, value) for key, value in changes.items()}
        return dataclasses.replace(recordings, **values)
    except (TypeError, ValueError) as error:
        raise OptionError(f"class {name} of a mixture: {error}") from error


def _from_json(key: str, value: Any) -> Any:
    if key.endswith("_codecs"):
        return tuple(CodecRange(**(item | {"quality": tuple(item["quality"])})) for item in value)
    if key == "kernels":
        return dict(value)
    return tuple(value) if key in LIMITS else float(value)


def _read_shares(text: str) -> dict[str, float]:
    shares = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        try:
            shares[name.strip()] = float(number)
        except ValueError as error:
            raise OptionError(f"shares are written as clean=25,camera=75, got {part!r}") from error
    return shares
