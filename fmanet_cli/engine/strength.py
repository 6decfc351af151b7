"""How much of what the network restores goes into a frame."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from fmanet_cli.errors import OptionError


def check_strength(strength: float) -> None:
    """Raise OptionError unless `strength` lies in [0, 1]."""
    if not 0 <= strength <= 1:
        raise OptionError(
            f"the strength must be from 0 (the enlarged source) to 1 (the network's frame), got {strength}"
        )


def enlarged(image: Tensor, scale: int) -> Tensor:
    """(3, H, W) in [0, 1] to (3, scale * H, scale * W) by bicubic interpolation (a = -0.75), not clipped."""
    size = (scale * image.shape[-2], scale * image.shape[-1])
    return F.interpolate(image[None].float(), size=size, mode="bicubic", align_corners=False)[0]


def blended(restored: Tensor, source: Tensor, strength: float) -> Tensor:
    """The network's frame, brought nearer to the enlarged source.

    Args:
        restored: (3, sH, sW), from the network.
        source: (3, H, W), the frame that it restored, in the same colour order.
        strength: share of the network's frame, in [0, 1]; 1 gives it back untouched.
    """
    if strength == 1:
        return restored
    plain = enlarged(source, restored.shape[-1] // source.shape[-1])
    # Clipped before: what the eye would see of either is what is mixed.
    return plain.clamp(0, 1).lerp(restored.float().clamp(0, 1), strength)
