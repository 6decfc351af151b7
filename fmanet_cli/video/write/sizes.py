"""The size of an output, from a factor or from what was requested by name."""

from __future__ import annotations

import re
from fractions import Fraction

from fmanet_cli.errors import OptionError

SIZE_NAMES = {"480p": 480, "720p": 720, "1080p": 1080, "1440p": 1440, "2160p": 2160, "4k": 2160}
"""Name -> the shorter side of a frame as it is shown, in pixels: `1080p` of a portrait film is 1080 wide."""


def check_size(size: str | None) -> None:
    """Refuse what is neither `WxH` nor a name.

    Raises:
        OptionError: the size is not understood.
    """
    if size is not None and size.lower() not in SIZE_NAMES and not re.fullmatch(r"\d{1,5}x\d{1,5}", size):
        raise OptionError(f"size must be WIDTHxHEIGHT or one of {', '.join(SIZE_NAMES)}, got {size!r:.60}")


def output_size(
    height: int, width: int, *, scale: int, size: str | None, aspect: Fraction = Fraction(1)
) -> tuple[int, int]:
    """(height, width) of the output before rotation; both even where a named side decides the other.

    Args:
        height: of the source before rotation, in pixels.
        width: of the source before rotation, in pixels.
        scale: output size over input size, where no size is requested.
        size: `WxH` of a stored frame, or a name.
        aspect: shape of a pixel, width over height; it decides which side is the shorter one as shown.

    Raises:
        OptionError: the requested size has no pixels.
    """
    if size is None:
        return height * scale, width * scale
    named = SIZE_NAMES.get(size.lower())
    if named is not None:
        if width * aspect < height:
            return _even(height * named / width), named
        return named, _even(width * named / height)
    requested_width, requested_height = (int(side) for side in size.split("x"))
    if not requested_width or not requested_height:
        raise OptionError(f"size must be at least 1x1, got {size}")
    return requested_height, requested_width


def _even(side: float) -> int:
    return max(2, round(side / 2) * 2)
