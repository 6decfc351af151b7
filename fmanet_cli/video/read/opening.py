"""Opening inputs the same careful way everywhere."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from fmanet_cli.errors import VideoReadError
from fmanet_cli.files import similar_file

MAX_PIXELS = 1 << 26
"""Largest frame that is decoded; the float array of one such frame takes 805 MB."""

_TEXT_FORMATS = ("tty", "bin", "xbin", "adf", "idf")
"""Demuxers that render text files as video; such a file is no video to restore."""

_REFERRING_FORMATS = {
    "hls", "concat", "dash", "sdp", "rtp", "rtsp", "sap", "imf", "webm_dash_manifest", "lavfi", "vobsub",
}  # fmt: skip
"""What names other files or addresses instead of holding frames. FFmpeg would read whatever they point at, and wait
for ever at a live one, already while it opens it."""

_REFERRING_STARTS = (
    (b"#EXTM3U", "playlist (HLS)"),
    (b"ffconcat version", "list of files to join"),
    (b"# VobSub index file", "subtitle index"),
    (b"v=0", "session description (SDP)"),
)

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+(?!/)")
"""Longer than the one letter of a drive; a folder on the way may have taken one of the two slashes."""

_HEAD_BYTES = 4096


def open_input(path: str | Path) -> InputContainer:
    """Open a file, or standard input for `-`. Raises VideoReadError with one line."""
    name = str(path)
    if name != "-":
        head = _head_of(name)
        if head == b"" and Path(name).is_file():
            raise VideoReadError(f"{name} is empty")
        _refuse_references(name, head)
    elif sys.stdin is None:
        raise VideoReadError("standard input is closed")
    source: Any = sys.stdin.buffer if name == "-" else f"file:{name}"
    shown = "standard input" if name == "-" else name
    try:
        container = av.open(source, "r", options=_options())
    except av.error.ArgumentError as error:
        raise VideoReadError(f"{shown} is a playlist or manifest that names other files, or is damaged") from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoReadError(f"{shown} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if container.format.name in _TEXT_FORMATS:
        container.close()
        raise VideoReadError(f"{shown} is a text file, not a video")
    if name != "-" and container.format.name == "webp_pipe" and is_animated_webp(head):
        container.close()
        raise VideoReadError(f"{name} is an animated WebP, which FFmpeg cannot decode; convert it to APNG or MP4 first")
    return container


def is_animated_webp(head: bytes) -> bool:
    """Whether a file that begins with `head` (21 bytes or more) is a WebP with several frames."""
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & 2)


@cache
def _options() -> dict[str, str]:
    """Nothing is fetched from a network, and nothing is read but the file itself."""
    held = {name for listed in av.formats_available for name in listed.split(",")} - _REFERRING_FORMATS
    return {
        "max_pixels": str(MAX_PIXELS),
        "protocol_whitelist": "file,pipe,fd,data",
        "format_whitelist": ",".join(sorted(held)),
    }


def _head_of(name: str) -> bytes:
    """The first bytes of a file; empty for pipes and devices, which cannot be read twice."""
    path = Path(name)
    try:
        if path.is_dir():
            raise VideoReadError(f"{name} is a folder, not a video")
        if path.exists() and not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        if _ADDRESS.match(name):
            raise VideoReadError(f"{name} is an address; addresses are not read, download the file first") from error
        raise VideoReadError(f"{name} does not exist.{similar_file(name)}") from error
    except (OSError, ValueError) as error:
        if isinstance(error, VideoReadError):
            raise
        raise VideoReadError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _refuse_references(name: str, head: bytes) -> None:
    """Name what only points at other files; FFmpeg's own word for it is `Invalid argument`."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    kind = next((kind for start, kind in _REFERRING_STARTS if text.startswith(start)), "")
    if not kind and text.startswith(b"<") and (b"<MPD" in text or b"<CompositionPlaylist" in text):
        kind = "DASH manifest" if b"<MPD" in text else "IMF playlist"
    if kind:
        raise VideoReadError(f"{name} is a {kind}, not a video; give the video files that it names")
