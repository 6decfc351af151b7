"""Frames of a film at asked times, each with its true neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fmanet_cli.engine.windows import sliding_windows
from fmanet_cli.errors import OptionError, VideoReadError
from fmanet_cli.shots.detector import detect_cuts
from fmanet_cli.video.frames import Frame
from fmanet_cli.video.read.reader import VideoReader

RUN_UP_SECONDS = 2.0
"""Read before an asked time, so that neighbours and cuts are those of the whole film."""


def window_at(path: str | Path, seconds: float, radius: int) -> tuple[Frame, ...]:
    """The window of `2 * radius + 1` frames around the one that is shown at a time; cuts and ends as in a run.

    Args:
        path: video file or image sequence pattern.
        seconds: from the start of the file.
        radius: neighbours on either side.

    Raises:
        OptionError: the film is not that long, or the time is negative.
        VideoReadError: the file cannot be read.
    """
    if not seconds >= 0:
        raise OptionError(f"the time must be 0 s or later, got {seconds:g}")
    with VideoReader(path, start_seconds=max(0.0, seconds - RUN_UP_SECONDS) or None, on_error="continue") as reader:
        origin = float(reader.info.start_seconds)
        found: tuple[Frame, ...] | None = None
        try:
            for window in windows(reader, radius):
                if found is not None and window[radius].seconds - origin > seconds:
                    break
                found = window
        except VideoReadError:
            if reader.frames_read or seconds <= RUN_UP_SECONDS:
                raise
    if found is None:
        raise OptionError(f"{path} ends before {seconds:g} s")
    last = found[radius]
    if last.seconds - origin + float((last.duration or 1) * last.time_base) <= seconds:
        raise OptionError(f"{path} ends before {seconds:g} s: its last frame is at {last.seconds - origin:.3f} s")
    return found


def windows(frames: Iterator[Frame], radius: int) -> Iterator[tuple[Frame, ...]]:
    """A window around every frame; none reaches across a cut."""
    return sliding_windows(detect_cuts(frames), radius, starts_run=lambda frame: frame.starts_shot)
