"""Rational numbers of PyAV, whose kind differs between its versions, as fractions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from fmanet_cli.errors import OptionError

DEFAULT_FRAME_RATE = Fraction(25)
"""Frames a second of sources that do not say."""

_MOST_FRAMES_PER_SECOND = 1000


def to_fraction(value: Any) -> Fraction | None:
    """A PyAV rational as a Fraction; None when it is unset (None, 0/1 or 0/0)."""
    if value is None or not value.numerator or not value.denominator:
        return None
    return Fraction(value.numerator, value.denominator)


def parse_frame_rate(text: str) -> Fraction:
    """Frames a second from a number or a ratio such as `24000/1001`.

    Raises OptionError for what is neither, or not above 0 and up to 1000.
    """
    try:
        rate = Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= _MOST_FRAMES_PER_SECOND:
        raise OptionError(
            f"the frame rate must be a number such as 25 or a ratio such as 24000/1001, "
            f"up to {_MOST_FRAMES_PER_SECOND}, got {text!r}"
        )
    return rate
