"""Opening inputs the same careful way everywhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from fmanet_cli.errors import VideoReadError

MAX_PIXELS = 1 << 26
"""Largest picture that is decoded; the float array of one such picture takes 805 MB."""

_OPTIONS = {"max_pixels": str(MAX_PIXELS), "protocol_whitelist": "file,pipe,fd,data"}
"""Nothing is fetched from a network, whatever a playlist says."""

_TEXT_FORMATS = ("tty", "bin", "xbin", "adf", "idf")
"""What FFmpeg draws as pictures of letters, at many frames a second."""


def open_input(path: str | Path) -> InputContainer:
    """Open a file, or standard input for ``-``. Raises VideoReadError with one line."""
    name = str(path)
    if name != "-" and not Path(name).exists():
        raise VideoReadError(f"{name} does not exist")
    source: Any = sys.stdin.buffer if name == "-" else f"file:{name}"
    try:
        container = av.open(source, "r", options=_OPTIONS)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoReadError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if container.format.name in _TEXT_FORMATS:
        container.close()
        raise VideoReadError(f"{name} is a text file, not a video")
    return container
