"""Frames of a video file in one list, and what its packets say."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from fmanet_cli.video.frames import Frame
from fmanet_cli.video.read.opening import open_input
from fmanet_cli.video.read.packets import FilePackets, packets_of
from fmanet_cli.video.read.reader import VideoReader


def frames_of(path: Path, **options: Any) -> tuple[list[Frame], VideoReader]:
    """Read a file to its end; its frames, and the reader, which is closed and has its warnings."""
    with VideoReader(path, **options) as reader:
        return list(reader), reader


def seconds(frames: Sequence[Frame]) -> list[Fraction]:
    """When each frame is shown."""
    return [frame.pts * frame.time_base for frame in frames]


def packets_in(path: Path, **options: Any) -> FilePackets:
    """Read a file to its end without decoding it."""
    with open_input(path) as container:
        return packets_of(container, **options)
