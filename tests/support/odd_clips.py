"""Small recordings with the oddities of cameras, recorders and old programs, made with PyAV and by changing bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from support.clips import numbered_frame

REPEATED_THEORA = Path(__file__).with_name("repeated.ogv")
"""20 pictures of 1/25 s at 5 changes a second: all but frames 0, 5, 10, 12 and 15 are empty packets.

    ffmpeg -f lavfi -i testsrc=s=32x32:r=5 -r 25 -t 0.8 -c:v libtheora -q:v 1 repeated.ogv
"""


def record(
    path: Path,
    *,
    count: int = 10,
    pts: Sequence[int] | None = None,
    rate: Fraction = Fraction(25),
    size: tuple[int, int] = (48, 64),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    sound: str = "",
    sound_seconds: float = 0.0,
    sound_rate: int = 44100,
    muxer: Mapping[str, str] | None = None,
    form: str | None = None,
) -> None:
    """Write numbered pictures at ``pts`` (in frames), and sound of its own length beside them."""
    with av.open(str(path), "w", format=form, options=dict(muxer or {})) as output:
        video: Any = output.add_stream(codec, rate=rate, options=dict(options or {}))
        video.height, video.width = size
        video.pix_fmt, video.codec_context.time_base = pix_fmt, 1 / rate
        track: Any = output.add_stream(sound, rate=sound_rate) if sound else None
        if track is not None:
            track.bit_rate = 64000
        for number, time in enumerate(pts or range(count)):
            frame = numbered_frame(number, *size, pix_fmt)
            frame.pts, frame.time_base = time, 1 / rate
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if track is not None:
            mux_noise(output, track, seconds=sound_seconds, rate=sound_rate)


def mux_noise(output: Any, track: Any, *, seconds: float, rate: int) -> None:
    """Quiet noise until the given time."""
    context = track.codec_context
    context.open(strict=False)
    size = context.frame_size or 1024
    resampler = av.AudioResampler(format=context.format, layout=context.layout, rate=rate, frame_size=size)
    noise = np.random.default_rng(5).integers(-2000, 2000, (1, int(seconds * rate)), dtype=np.int16)
    frame = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        output.mux(track.encode(part))
    output.mux(track.encode(None))


def shift_fragments(path: Path, seconds: Fraction) -> None:
    """Let a fragmented MP4 begin later, as a part of a live stream does: every track's decode time is moved."""
    content = bytearray(path.read_bytes())
    timescales = _track_timescales(content)
    position, track = 0, 0
    while (position := content.find(b"tfdt", position)) >= 0:
        head = content.rfind(b"tfhd", 0, position)
        track = struct.unpack_from(">I", content, head + 8)[0]
        assert content[position + 4] == 1, "a decode time of 64 bits"
        (time,) = struct.unpack_from(">Q", content, position + 8)
        struct.pack_into(">Q", content, position + 8, time + round(seconds * timescales[track]))
        position += 4
    path.write_bytes(bytes(content))


def _track_timescales(content: bytes | bytearray) -> dict[int, int]:
    found, position = {}, 0
    while (position := content.find(b"tkhd", position)) >= 0:
        wide = content[position + 4] == 1
        (track,) = struct.unpack_from(">I", content, position + (24 if wide else 16))
        media = content.find(b"mdhd", position)
        (found[track],) = struct.unpack_from(">I", content, media + (24 if content[media + 4] == 1 else 16))
        position += 4
    return found


def joined(path: Path, *parts: Path) -> None:
    """The bytes of several files in one, as recorders join transport streams."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))


def move_flv_times(path: Path, first: Callable[[int], int]) -> None:
    """Add milliseconds to the time of each video tag of Flash video; ``first`` takes the number of the tag."""
    content = bytearray(path.read_bytes())
    position, number = 13, 0
    while position + 11 <= len(content):
        kind, size = content[position], int.from_bytes(content[position + 1 : position + 4], "big")
        if kind == 9:
            time = int.from_bytes(content[position + 4 : position + 7], "big") | content[position + 7] << 24
            moved = (time + first(number)) % (1 << 32)
            content[position + 4 : position + 7] = (moved & 0xFFFFFF).to_bytes(3, "big")
            content[position + 7] = moved >> 24
            number += 1
        position += 11 + size + 4
    path.write_bytes(bytes(content))
