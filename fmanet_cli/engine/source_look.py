"""What a network sees of frames that a camera has sharpened."""

from __future__ import annotations

import math
from typing import Literal, get_args

from torch import Tensor
from torch.nn import functional as F

from fmanet_cli.errors import OptionError

SourceLook = Literal["plain", "camera"]
"""`camera`: frames are softened first, so that the network does not sharpen once more what is sharp already."""

SOFTENING_SIGMA = 0.45
"""Of `camera`: standard deviation of the Gaussian in pixels. Wider ones cost video that nobody has sharpened more
than others gain: those before part 9 (weights/README) lost 0.6 dB of 1.5 there at 0.45, and nearly all at 0.55."""

_TAP = math.exp(-1 / (2 * SOFTENING_SIGMA**2))
_BESIDE = 2 * _TAP / (1 + 2 * _TAP)
"""Weight of a pixel's two neighbours in a row or column together; further taps are below a ten-thousandth."""


def check_source_look(look: str) -> None:
    """Raise OptionError for an unknown look."""
    if look not in get_args(SourceLook):
        raise OptionError(f"the look of the source must be {' or '.join(get_args(SourceLook))}, got {look!r}")


def as_seen(image: Tensor, look: SourceLook) -> Tensor:
    """What the network is given of a frame.

    Args:
        image: (3, H, W) in [0, 1], gamma-coded.
        look: `plain` gives the image itself back; `camera` gives it after a Gaussian, in its own dtype, edges
            repeated.
    """
    if look == "plain":
        return image
    # Sums, not a convolution: GPUs round what they convolve to ten bits.
    padded = F.pad(image[None].float(), (1, 1, 1, 1), mode="replicate")[0]
    rows = padded[:, 1:-1].lerp((padded[:, :-2] + padded[:, 2:]) / 2, _BESIDE)
    return rows[..., 1:-1].lerp((rows[..., :-2] + rows[..., 2:]) / 2, _BESIDE).to(image.dtype)
