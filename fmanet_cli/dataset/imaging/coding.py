"""Video codecs as a step of the chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fmanet_cli.errors import OptionError

QUALITY_RANGES: dict[str, tuple[float, float]] = {
    "libx264": (0, 51),
    "mpeg2video": (2, 31),
    "mpeg4": (2, 31),
    "mjpeg": (2, 31),
}
"""Codec (FFmpeg's name) to its smallest and largest quality number: crf, or the quantiser q; larger is coarser.

libx265 is left out: inside PyAV 18.1 it overwrites memory that is not its own on frames this small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """One pass through a codec, 4:2:0 at 8 bits."""

    codec: str = "libx264"
    """One of `QUALITY_RANGES`."""
    quality: float = 23.0
    """crf of libx264; the fixed quantiser of the others."""
    preset: str = "medium"
    """Effort of libx264."""
    b_frames: int = 2
    """Most B-frames in a row, 0 to 3; not for `mjpeg`."""
    group: int = 60
    """Most frames from one I-frame to the next; not for `mjpeg`."""

    def __post_init__(self) -> None:
        if self.codec not in QUALITY_RANGES:
            raise OptionError(f"codec must be one of {', '.join(QUALITY_RANGES)}, got {self.codec!r}")
        low, high = QUALITY_RANGES[self.codec]
        if not low <= self.quality <= high:
            raise OptionError(f"the quality of {self.codec} is from {low} to {high}, got {self.quality}")

    def code(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Encode and decode (H, W, 3) float32 frames of even sides; see `code_frames`."""
        # Here, because everything else of training works where PyAV is missing.
        from fmanet_cli.video.write.coding_loss import code_frames

        return code_frames(frames, codec=self.codec, options=self._options())

    def _options(self) -> dict[str, str]:
        motion = {"bf": str(self.b_frames), "g": str(self.group)}
        if self.codec == "libx264":
            return motion | {"crf": f"{self.quality:.2f}", "preset": self.preset}
        # A rate far out of reach leaves the rate control at the one quantiser that it may choose.
        step = f"{round(self.quality)}"
        fixed = {"qmin": step, "qmax": step, "b": "400000"}
        return fixed if self.codec == "mjpeg" else fixed | motion
