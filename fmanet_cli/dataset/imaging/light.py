"""Light curves: what a code value means where light is averaged."""

from __future__ import annotations

from typing import Literal, get_args

import cv2
import numpy as np

LightCurve = Literal["gamma", "srgb", "tone", "code"]
"""`gamma`: exponent 2.2; `srgb`: the piecewise curve; `tone`: a camera's S-curve over the exponent 2.2; `code`:
code values are averaged as they are, as frame blending does."""

LIGHT_CURVES: tuple[LightCurve, ...] = get_args(LightCurve)

HIGHLIGHT = 0.95
"""Light from here on may have been more than the file could hold."""


def to_light(image: np.ndarray, curve: LightCurve) -> np.ndarray:
    """Gamma-coded float32 values in [0, 1] to light in [0, 1], of any shape."""
    values = np.clip(image, 0, 1)
    if curve == "code":
        return values
    if curve == "srgb":
        return srgb_to_light(values)
    if curve == "tone":
        values = 0.5 - np.sin(np.arcsin(1 - 2 * values) / 3)
    return _power(values, 2.2)


def to_code(light: np.ndarray, curve: LightCurve) -> np.ndarray:
    """Light to gamma-coded float32 values in [0, 1]: the inverse of `to_light`; more light than 1 is clipped."""
    values = np.clip(light, 0, 1)
    if curve == "code":
        return values
    if curve == "srgb":
        return light_to_srgb(values)
    values = _power(values, 1 / 2.2)
    return values * values * (3 - 2 * values) if curve == "tone" else values


def raise_highlights(light: np.ndarray, amount: float) -> np.ndarray:
    """Add `amount` where light is at least `HIGHLIGHT`, so that lamps stay white when they are smeared."""
    return light + amount * (light >= HIGHLIGHT).astype(np.float32)


def srgb_to_light(code: np.ndarray) -> np.ndarray:
    """The sRGB curve, continued as a line below 0, on float32 or float64 values up to 1."""
    return np.where(code <= 0.04045, code / 12.92, _power((np.maximum(code, 0) + 0.055) / 1.055, 2.4))


def light_to_srgb(light: np.ndarray) -> np.ndarray:
    """The inverse of `srgb_to_light`."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * _power(np.maximum(light, 0), 1 / 2.4) - 0.055)


def _power(values: np.ndarray, exponent: float) -> np.ndarray:
    flat = np.ascontiguousarray(values).reshape(-1, 1)
    return cv2.pow(flat, exponent).reshape(values.shape)
