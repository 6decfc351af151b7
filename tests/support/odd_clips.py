"""Small recordings with the oddities of cameras, recorders and old programs, made with PyAV and by changing bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.sidedata.sidedata
import numpy as np

from support.clips import numbered_frame

REPEATED_THEORA = Path(__file__).with_name("repeated.ogv")
"""20 frames of 1/25 s at 5 changes a second: all but frames 0, 5, 10, 12 and 15 are empty packets.

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
    aspect: Fraction | None = None,
) -> None:
    """Write numbered frames at `pts` (in frames), and sound of its own length beside them."""
    with av.open(str(path), "w", format=form, options=dict(muxer or {})) as output:
        video: Any = output.add_stream(codec, rate=rate, options=dict(options or {}))
        video.height, video.width = size
        video.pix_fmt, video.codec_context.time_base = pix_fmt, 1 / rate
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = aspect
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
    """Add milliseconds to the time of each video tag of Flash video; `first` takes the number of the tag."""
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


def record_tracks(path: Path, *tracks: Mapping[str, Any]) -> None:
    """Several video streams; each mapping may have `codec`, `count`, `size` and `default`."""
    with av.open(str(path), "w") as output:
        made = []
        for number, track in enumerate(tracks):
            height, width = track.get("size", (48, 64))
            codec = track.get("codec", "libx264")
            video: Any = output.add_stream(codec, rate=25)
            video.height, video.width, video.codec_context.time_base = height, width, Fraction(1, 25)
            video.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}.get(codec, "yuv420p")
            video.disposition = av.stream.Disposition.default if track.get("default", True) else 0
            made.append((video, track.get("count", 6), 16 * (number + 1)))
        for video, count, first in made:
            for number in range(count):
                frame = numbered_frame(first + number, video.height, video.width, "yuv420p")
                frame = frame.reformat(format=video.pix_fmt)
                frame.pts, frame.time_base = number, Fraction(1, 25)
                output.mux(video.encode(frame))
            output.mux(video.encode(None))


def box(name: bytes, content: bytes = b"") -> bytes:
    """One box of MP4."""
    return (8 + len(content)).to_bytes(4, "big") + name + content


def add_to_sample_entry(path: Path, boxes: bytes) -> None:
    """Append boxes to the description of the first video stream of an MP4 or MOV whose index comes last."""
    content = path.read_bytes()
    chain, start, end = [], 0, len(content)
    headers = {b"moov": 8, b"trak": 8, b"mdia": 8, b"minf": 8, b"stbl": 8, b"stsd": 16}
    for name, header in headers.items():
        start, end = _box_at(content, start, end, name)
        chain.append(start)
        start += header
    chain.append(start)
    end = start + int.from_bytes(content[start : start + 4], "big")
    longer = bytearray(content[:end] + boxes + content[end:])
    for at in chain:
        size = int.from_bytes(longer[at : at + 4], "big") + len(boxes)
        longer[at : at + 4] = size.to_bytes(4, "big")
    path.write_bytes(bytes(longer))


def _box_at(content: bytes, start: int, end: int, name: bytes) -> tuple[int, int]:
    while start < end:
        size = int.from_bytes(content[start : start + 4], "big")
        if content[start + 4 : start + 8] == name:
            return start, start + size
        start += size
    raise ValueError(f"no box {name!r}")


def dolby_vision(profile: int, compatibility: int) -> bytes:
    """The configuration of a Dolby Vision stream in MP4."""
    bits = 1 << 24 | 0 << 16 | profile << 9 | 6 << 3 | 0b101
    return box(b"dvvC" if profile > 7 else b"dvcC", bits.to_bytes(4, "big") + bytes([compatibility << 4]) + bytes(19))


def clean_aperture(width: int, height: int, right: int, down: int) -> bytes:
    """The shown part of a frame, with its centre moved by whole pixels."""
    return box(b"clap", struct.pack(">4IiIiI", width, 1, height, 1, right, 1, down, 1))


def spherical(stereo: int = 0, *, kind: str = "equirectangular", pose: Sequence[int] = (0, 0, 0)) -> bytes:
    """Marks of a 360 degree video; stereo 1 = top and bottom, 2 = side by side. pose: in 1/65536 degree."""
    header = box(b"svhd", bytes(4) + b"tests\0")
    shape = {
        "equirectangular": box(b"equi", bytes(20)),
        "tiled": box(b"equi", struct.pack(">5I", 0, 1 << 30, 1 << 29, 1 << 28, 3 << 28)),
        "cubemap": box(b"cbmp", bytes(12)),
    }[kind]
    projection = box(b"proj", box(b"prhd", bytes(4) + struct.pack(">3i", *pose)) + shape)
    views = box(b"st3d", bytes(4) + bytes([stereo])) if stereo else b""
    return views + box(b"sv3d", header + projection)


CAPTIONS = bytes.fromhex("b50031") + b"GA94" + bytes.fromhex("03c1fffc9420ff")
"""Closed captions of one frame as registered user data: ATSC A/53, one pair of bytes."""

_WINDOW = f"01{400:027b}0" + f"{1000:017b}" * 3 + f"{100:017b}0000{5:010b}000" + "0" * 5
HDR10_PLUS = bytes.fromhex("b5003c00010401") + int(_WINDOW, 2).to_bytes(15, "big")
"""Dynamic metadata of one window without distribution and curves."""


def numbered_captions(number: int) -> bytes:
    """Closed captions that differ from frame to frame."""
    return CAPTIONS[:-3] + bytes([0x80 | number, 0x20, 0xFF])


def captions_of(path: Path) -> list[bytes]:
    """What each frame says, in the order in which frames are shown."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    kinds = av.sidedata.sidedata.Type
    return [b"".join(bytes(data) for data in frame.side_data if data.type is kinds.A53_CC) for frame in frames]


def record_with_sei(
    path: Path,
    payload: bytes | Callable[[int], bytes],
    *,
    codec: str = "libx264",
    count: int = 6,
    first: int = 0,
    size: tuple[int, int] = (48, 64),
) -> None:
    """A clip whose frames from number `first` on carry registered user data in their bitstream."""
    head = b"\x06" if codec == "libx264" else b"\x4e\x01"

    def unit(number: int) -> bytes:
        content = payload if isinstance(payload, bytes) else payload(number)
        escaped = content.replace(b"\0\0\0", b"\0\0\3\0").replace(b"\0\0\1", b"\0\0\3\1")
        return b"\0\0\0\1" + head + bytes([4, len(content)]) + escaped + b"\x80"

    options = {"bf": "0"} if codec == "libx264" else {"x265-params": "log-level=none:bframes=0"}
    with av.open(str(path), "w") as output:
        video: Any = output.add_stream(codec, rate=25, options=options)
        video.height, video.width, video.pix_fmt = *size, "yuv420p"
        video.codec_context.time_base = Fraction(1, 25)
        packets = []
        for number in range(count):
            frame = numbered_frame(number, *size, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += video.encode(frame)
        for number, packet in enumerate([*packets, *video.encode(None)]):
            marked = av.Packet((unit(number) if number >= first else b"") + bytes(packet))
            marked.pts, marked.dts, marked.time_base = packet.pts, packet.dts, packet.time_base
            marked.is_keyframe, marked.stream = packet.is_keyframe, video
            output.mux(marked)
