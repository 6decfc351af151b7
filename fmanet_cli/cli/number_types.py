"""Numbers of the command line: only those that a computer can use, and times as people write them."""

from __future__ import annotations

import math
import re
from typing import Any

import click

_CLOCK = re.compile(r"(?:(\d{1,6}):)?(\d{1,6}):(\d{1,2}(?:\.\d{1,9})?)")
_MOST_SECONDS = 1e9
"""Thirty years."""


class FiniteFloat(click.types.FloatParamType):
    """A floating-point number that is neither infinite nor none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Fail for `nan` and `inf`, which Python reads as numbers, and for integers beyond every float."""
        try:
            number: float = super().convert(value, param, ctx)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self.fail(f"{str(value)[:20]!r} is not a finite number.", param, ctx)
        return number


class FiniteRange(FiniteFloat, click.FloatRange):
    """A range without infinity and without what is no number, which no comparison refuses."""


class Seconds(FiniteFloat):
    """A time in seconds, `83.5`, or on a clock, `1:23.5` or `1:02:03.5`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Fail for negative times and for those beyond every video."""
        if isinstance(value, str) and (found := _CLOCK.fullmatch(value.strip())):
            hours, minutes, seconds = int(found[1] or 0), int(found[2]), float(found[3])
            if seconds >= 60 or (found[1] and minutes >= 60):
                self.fail(f"{value!r} is no time: minutes and seconds end at 59.", param, ctx)
            # The decimals stay those that were written.
            whole, point, decimals = found[3].partition(".")
            value = f"{hours * 3600 + minutes * 60 + int(whole)}{point}{decimals}"
        try:
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is no time; write seconds such as 83.5, or 1:02:03.5.", param, ctx)
        if not 0 <= number <= _MOST_SECONDS:
            self.fail(f"{value!r} is no time in a video.", param, ctx)
        return number


FINITE = FiniteFloat()
SECONDS = Seconds()
NUMBERS = (click.types.IntParamType, click.types.FloatParamType)
"""Types whose values are numbers."""
