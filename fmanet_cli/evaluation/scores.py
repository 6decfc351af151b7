"""What is measured on one frame of a clip."""

from __future__ import annotations

from dataclasses import dataclass

from fmanet_cli.evaluation.metrics import FrameScores

ColourShift = tuple[float, float, float]
"""Of red, green and blue, in 8-bit code values."""


@dataclass(frozen=True, slots=True)
class ScoredFrame:
    """One frame of a clip and what was measured on it."""

    clip: str
    """Name of the clip."""
    index: int
    """Place of the frame in its clip, from 0, counting the frames that are scored."""
    restored: FrameScores
    """The restored frame against the truth."""
    bicubic: FrameScores | None = None
    """The low-resolution frame, enlarged by bicubic interpolation, against the truth; None where it is not known."""
    colour_shift: ColourShift = (0.0, 0.0, 0.0)
    """Mean of restored minus truth in 8-bit code values: red, green, blue."""
    bicubic_colour_shift: ColourShift | None = None
    """The same of the bicubic enlargement."""
    tile_psnr: float | None = None
    """PSNR in dB between the frame restored as asked and restored in tiles; None where it was not asked for."""
    preset: str = ""
    """Kind of camera that recorded the clip; empty for others."""
    condition: str = ""
    """Motion and exposure of a recorded clip in words, after the preset where there are several; empty for others."""
    input_digest: str = ""
    """SHA-256 of the low-resolution frames of a recorded clip; empty for others."""
