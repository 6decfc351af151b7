"""A film for runs that share it among workers, machines or parts, and what has to be equal in their outputs."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from support.clips import make_clip, packet_payloads, packet_times

FRAMES = 45
"""Of the film, so that with segments of 8 frames there are five whole ones and a shorter one at the end."""


def write_shared_film(path: Path) -> Path:
    """Write 45 frames of 32x24 with sound; return the path."""
    make_clip(path, count=FRAMES, height=24, width=32, time_base=Fraction(1, 12000), audio=["aac"])
    return path


def assert_equal(one: Path, other: Path) -> None:
    """Compare the packets of video and sound with their times."""
    for kind in ("video", "audio"):
        assert packet_payloads(one, kind) == packet_payloads(other, kind)
        assert packet_times(one, kind) == packet_times(other, kind)
