"""Measures that optional packages bring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fmanet_cli.dataset.byte_images import ByteImage

if TYPE_CHECKING:
    from fmanet_cli.evaluation.text import TextReader
    from fmanet_cli.evaluation.vmaf import VideoMetric

PerceptualMetric = Callable[[ByteImage, ByteImage], float]
"""A distance of two RGB images of code values, such as `perceptual.PerceptualDistance`."""


@dataclass(frozen=True, slots=True)
class Extras:
    """What to measure beside PSNR, SSIM and tOF; None leaves it out."""

    perceptual: PerceptualMetric | None = None
    """LPIPS."""
    text: TextReader | None = None
    """Characters read right."""
    video: VideoMetric | None = None
    """VMAF-NEG and XPSNR."""


NO_EXTRAS = Extras()
"""Only what the package itself measures."""
