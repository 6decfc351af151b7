"""Rational numbers of PyAV, whose kind differs between its versions, as fractions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any


def to_fraction(value: Any) -> Fraction | None:
    """A PyAV rational as a Fraction; None when it is unset (None, 0/1 or 0/0)."""
    if value is None or not value.numerator or not value.denominator:
        return None
    return Fraction(value.numerator, value.denominator)
