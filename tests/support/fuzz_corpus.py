"""Files that lie, are damaged or are no videos at all, made from a few small clips; one seed, one corpus."""

from __future__ import annotations

import io
import random
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from fmanet_cli.video.read.images import encode_png
from support.clips import make_clip, make_gif

HEIGHT, WIDTH = 48, 64
FRAMES = 8
_HEADER_BYTES = 400
_HUGE = 65535


@dataclass(frozen=True, slots=True)
class HostileFile:
    """One file of the corpus."""

    name: str
    """File name; its suffix may be wrong on purpose."""
    how: str
    """What was done to it."""
    content: bytes
    """All of it."""


def make_corpus(folder: Path, *, seed: int = 20) -> list[HostileFile]:
    """Every hostile file, written into a folder in the order of the list."""
    folder.mkdir(parents=True, exist_ok=True)
    workplace = folder / "sources"
    workplace.mkdir(exist_ok=True)
    sources = valid_sources(workplace)
    files = [*_damaged(sources, seed), *_lies(sources, workplace), *_no_videos(sources, seed)]
    for file in files:
        (folder / file.name).write_bytes(file.content)
    assert len({file.name for file in files}) == len(files)
    return files


def valid_sources(folder: Path) -> dict[str, bytes]:
    """Suffix -> a whole small file of that kind."""
    size: dict[str, Any] = {"count": FRAMES, "height": HEIGHT, "width": WIDTH}
    lossy = {"preset": "veryfast", "threads": "1"}
    make_clip(folder / "a.mp4", audio=["aac"], options=lossy, **size)
    make_clip(folder / "a.mov", options=lossy, chapters=[(0, 0.2, "one")], rotation=90, **size)
    make_clip(folder / "a.mkv", audio=["aac"], subtitles=[(0, 0.2, "text")], attachment=b"font", options=lossy, **size)
    make_clip(folder / "a.webm", codec="libvpx", options={"deadline": "realtime", "threads": "1"}, **size)
    make_clip(folder / "a.ts", audio=["aac"], options=lossy, **size)
    make_clip(folder / "a.nut", codec="ffv1", options={"threads": "1"}, **size)
    make_clip(folder / "a.avi", codec="mjpeg", pix_fmt="yuvj420p", options={"threads": "1"}, **size)
    make_clip(folder / "a.h264", options=lossy, container_format="h264", **size)
    make_clip(folder / "a.y4m", codec="wrapped_avframe", time_base=Fraction(1, 25), **size)
    make_gif(folder / "a.gif")
    image = np.linspace(0, 1, HEIGHT * WIDTH * 3, dtype=np.float32).reshape(HEIGHT, WIDTH, 3)
    (folder / "a.png").write_bytes(encode_png(image))
    return {path.suffix[1:]: path.read_bytes() for path in sorted(folder.glob("a.*"))}


def endless_y4m(height: int = HEIGHT, width: int = WIDTH) -> Iterator[bytes]:
    """A raw video that never stops."""
    yield f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C420\n".encode()
    frame = b"FRAME\n" + bytes(range(256)) * (height * width * 3 // 2 // 256)
    while True:
        yield frame


def _damaged(sources: dict[str, bytes], seed: int) -> Iterator[HostileFile]:
    for suffix, content in sources.items():
        for number, (name, damage) in enumerate(_DAMAGES.items()):
            randomness = random.Random(f"{seed} {suffix} {number}")
            yield HostileFile(f"{suffix}-{name}.{suffix}", name, damage(bytearray(content), randomness))


def _flips(bits: int, *, within: int | None = None) -> Callable[[bytearray, random.Random], bytes]:
    def damage(content: bytearray, randomness: random.Random) -> bytes:
        for _ in range(bits):
            content[randomness.randrange(min(len(content), within or len(content)))] ^= 1 << randomness.randrange(8)
        return bytes(content)

    return damage


def _index_flips(content: bytearray, randomness: random.Random) -> bytes:
    """In the last bytes, where MP4 and MOV have their tables and Matroska and AVI their index."""
    for _ in range(12):
        content[-1 - randomness.randrange(min(len(content), 1500))] ^= 1 << randomness.randrange(8)
    return bytes(content)


def _cut(share: float) -> Callable[[bytearray, random.Random], bytes]:
    return lambda content, _: bytes(content[: max(1, int(len(content) * share))])


def _beheaded(content: bytearray, _: random.Random) -> bytes:
    return bytes(content[len(content) // 5 :])


def _filled(length: int, *, noise: bool) -> Callable[[bytearray, random.Random], bytes]:
    def damage(content: bytearray, randomness: random.Random) -> bytes:
        count = min(length, len(content) // 2)
        start = randomness.randrange(len(content) // 8, len(content) - count)
        content[start : start + count] = randomness.randbytes(count) if noise else bytes(count)
        return bytes(content)

    return damage


def _swapped(content: bytearray, randomness: random.Random) -> bytes:
    length = len(content) // 6
    first = randomness.randrange(len(content) // 3)
    second = randomness.randrange(len(content) // 2, len(content) - length)
    one, other = content[first : first + length], content[second : second + length]
    content[first : first + length], content[second : second + length] = other, one
    return bytes(content)


def _inserted(content: bytearray, randomness: random.Random) -> bytes:
    place = randomness.randrange(len(content))
    return bytes(content[:place] + randomness.randbytes(97) + content[place:])


_DAMAGES: dict[str, Callable[[bytearray, random.Random], bytes]] = {
    "flip-1": _flips(1),
    "flip-8": _flips(8),
    "flip-64": _flips(64),
    "flip-500": _flips(500),
    "header-flip-2": _flips(2, within=_HEADER_BYTES),
    "header-flip-6": _flips(6, within=_HEADER_BYTES),
    "header-flip-20": _flips(20, within=_HEADER_BYTES),
    "index-flip": _index_flips,
    "cut-2-percent": _cut(0.02),
    "cut-30-percent": _cut(0.3),
    "cut-70-percent": _cut(0.7),
    "cut-98-percent": _cut(0.98),
    "beheaded": _beheaded,
    "zeroed-60": _filled(60, noise=False),
    "zeroed-900": _filled(900, noise=False),
    "noise-60": _filled(60, noise=True),
    "noise-900": _filled(900, noise=True),
    "swapped": _swapped,
    "inserted": _inserted,
    "doubled": lambda content, _: bytes(content) * 2,
}


def _lies(sources: dict[str, bytes], folder: Path) -> Iterator[HostileFile]:
    yield from _box_lies(sources["mp4"])
    yield from _parameter_set_lies(sources["mp4"], folder)
    yield from _matroska_lies(folder)
    yield from _image_lies(sources)
    for width, height in ((_HUGE, _HUGE), (8192, 8192), (0, 0), (1, 1), (-1, -1), (1 << 31, 1)):
        assert b"W64 H48 F25:1 Ip" in sources["y4m"]
        lie = sources["y4m"].replace(b"W64 H48", f"W{width} H{height}".encode(), 1)
        yield HostileFile(f"lie-{width}x{height}.y4m", f"y4m header W{width} H{height}", lie)
    for old, new in ((b"F25:1", b"F0:0"), (b"F25:1", b"F2147483647:1"), (b" C420jpeg", b" C999"), (b"Ip", b"I?")):
        lie = sources["y4m"].replace(old, new, 1)
        name = new.decode().strip().replace(":", "-").replace("?", "unknown")
        yield HostileFile(f"lie-{name}.y4m", f"y4m header {name}", lie)


def _box_lies(mp4: bytes) -> Iterator[HostileFile]:
    """One field of one box changed at a time: box, bytes between its name and the field, format, values."""
    lies: tuple[tuple[str, bytes, int, str, tuple[int, ...]], ...] = (
        ("tkhd-65535", b"tkhd", 76, ">II", (_HUGE << 16, _HUGE << 16)),
        ("stsd-65535", b"avc1", 24, ">HH", (_HUGE, _HUGE)),
        ("stsd-0", b"avc1", 24, ">HH", (0, 0)),
        ("mvhd-timescale-0", b"mvhd", 12, ">I", (0,)),
        ("mdhd-timescale-0", b"mdhd", 12, ">I", (0,)),
        ("mdhd-timescale-max", b"mdhd", 12, ">I", (0xFFFFFFFF,)),
        ("mdhd-duration-max", b"mdhd", 16, ">I", (0xFFFFFFFE,)),
        ("stts-count-max", b"stts", 8, ">I", (0xFFFFFFFF,)),
        ("stts-delta-max", b"stts", 12, ">I", (0x7FFFFFFF,)),
        ("stts-entries-max", b"stts", 4, ">I", (0xFFFFFFFF,)),
        ("stsz-count-max", b"stsz", 8, ">I", (0xFFFFFFFF,)),
        ("stsz-size-max", b"stsz", 12, ">I", (0x7FFFFFFF,)),
        ("stco-past-the-end", b"stco", 8, ">I", (0xFFFFFFF0,)),
        ("stsc-entries-max", b"stsc", 4, ">I", (0xFFFFFFFF,)),
        ("elst-time-max", b"elst", 12, ">i", (0x7FFFFFFF,)),
        ("elst-duration-max", b"elst", 8, ">I", (0xFFFFFFFF,)),
        ("moov-size-max", b"moov", -8, ">I", (0xFFFFFFFF,)),
        ("moov-size-1", b"moov", -8, ">I", (1,)),
        ("mdat-size-max", b"mdat", -8, ">I", (0xFFFFFFFF,)),
        ("avcC-empty", b"avcC", 5, ">B", (0xE0,)),
    )
    for name, box, offset, form, values in lies:
        content = bytearray(mp4)
        at = content.find(box)
        assert at >= 4, box
        struct.pack_into(form, content, at + 4 + offset, *values)
        yield HostileFile(f"lie-{name}.mp4", f"mp4 {name}", bytes(content))


def _parameter_set_lies(mp4: bytes, folder: Path) -> Iterator[HostileFile]:
    """True slices under sequence parameter sets of other sizes."""
    for side in (_HUGE + 1, 16384, 8192, 4096):
        for suffix in ("mp4", "mkv"):
            path = folder / f"sps-{side}.{suffix}"
            with av.open(io.BytesIO(mp4)) as source, av.open(str(path), "w") as target:
                stream: Any = source.streams.video[0]
                copy: Any = target.add_stream_from_template(stream)
                copy.codec_context.extradata = _with_size(bytes(stream.codec_context.extradata), side)
                for packet in source.demux(stream):
                    if packet.size:
                        packet.stream = copy
                        target.mux(packet)
            name = f"lie-sps-{side}.{suffix}"
            yield HostileFile(name, f"H.264 parameter set of {side}x{side} in {suffix}", path.read_bytes())


def _with_size(avcc: bytes, side: int) -> bytes:
    """An avcC record whose only sequence parameter set is a baseline one with square frames of a side."""
    old_length = int.from_bytes(avcc[6:8], "big")
    macroblocks = side // 16 - 1
    # constraint fields are bytes; then: id, frame number bits, order type 2, one reference, no gaps, size, frames only,
    # direct inference, no cropping, no further facts.
    bits = _golomb(0) + _golomb(4) + _golomb(2) + _golomb(1) + "0" + _golomb(macroblocks) * 2 + "1" + "1" + "0" + "0"
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
    sps = b"\x67\x42\xc0\x3e" + payload
    return avcc[:6] + len(sps).to_bytes(2, "big") + sps + avcc[8 + old_length :]


def _golomb(value: int) -> str:
    """An unsigned Exp-Golomb code."""
    digits = f"{value + 1:b}"
    return "0" * (len(digits) - 1) + digits


def _matroska_lies(folder: Path) -> Iterator[HostileFile]:
    path = folder / "wide.mkv"
    # Sides above 255 have two bytes in the file, which can hold 65535.
    make_clip(path, count=2, height=258, width=272, codec="ffv1", options={"threads": "1"})
    content = path.read_bytes()
    width, height = b"\xb0\x82" + (272).to_bytes(2, "big"), b"\xba\x82" + (258).to_bytes(2, "big")
    assert width in content
    assert height in content
    for side in (_HUGE, 8192, 0):
        lie = content.replace(width, b"\xb0\x82" + side.to_bytes(2, "big"))
        lie = lie.replace(height, b"\xba\x82" + side.to_bytes(2, "big"))
        yield HostileFile(f"lie-pixelwidth-{side}.mkv", f"Matroska PixelWidth and PixelHeight {side}", lie)
    at = content.find(b"\x2a\xd7\xb1")
    lie = content[: at + 4] + bytes(content[at + 3] & 0x0F) + content[at + 4 + (content[at + 3] & 0x0F) :]
    yield HostileFile("lie-timescale-0.mkv", "Matroska TimestampScale 0", lie)


def _image_lies(sources: dict[str, bytes]) -> Iterator[HostileFile]:
    gif = bytearray(sources["gif"])
    struct.pack_into("<HH", gif, 6, _HUGE, _HUGE)
    yield HostileFile("lie-screen-65535.gif", "GIF screen of 65535x65535", bytes(gif))
    struct.pack_into("<HH", gif, gif.find(b"\x2c\x00\x00\x00\x00") + 5, _HUGE, _HUGE)
    yield HostileFile("lie-image-65535.gif", "GIF screen and image of 65535x65535", bytes(gif))
    struct.pack_into("<HH", gif, 6, 0, 0)
    yield HostileFile("lie-screen-0.gif", "GIF screen of 0x0", bytes(gif))
    for width, height in ((_HUGE, _HUGE), (0x7FFFFFFF, 0x7FFFFFFF), (8192, 8192), (0, 0)):
        png = bytearray(sources["png"])
        struct.pack_into(">II", png, 16, width, height)
        struct.pack_into(">I", png, 29, zlib.crc32(png[12:29]))
        yield HostileFile(f"lie-{width}x{height}.png", f"PNG header of {width}x{height}", bytes(png))
    png = bytearray(sources["png"])
    png[25] = 3
    struct.pack_into(">I", png, 29, zlib.crc32(png[12:29]))
    yield HostileFile("lie-palette.png", "PNG with a palette that is not there", bytes(png))
    avi = bytearray(sources["avi"])
    struct.pack_into("<ii", avi, avi.find(b"strf") + 12, _HUGE, _HUGE)
    yield HostileFile("lie-65535.avi", "AVI bitmap header of 65535x65535", bytes(avi))
    at = avi.find(b"\xff\xc0")
    struct.pack_into(">HH", avi, at + 5, _HUGE, _HUGE)
    yield HostileFile("lie-frame-65535.avi", "first JPEG frame of 65535x65535", bytes(avi))


def _no_videos(sources: dict[str, bytes], seed: int) -> Iterator[HostileFile]:
    randomness = random.Random(seed)
    for suffix in ("mp4", "mkv", "ts", "y4m", "png", "gif", "txt"):
        yield HostileFile(f"empty.{suffix}", "no byte at all", b"")
        yield HostileFile(f"random.{suffix}", "random bytes", randomness.randbytes(5000))
        yield HostileFile(f"text.{suffix}", "a text", b"This is no video.\n" * 200)
    for suffix, claimed in (
        ("mp4", "png"),
        ("png", "mp4"),
        ("mkv", "avi"),
        ("gif", "mov"),
        ("y4m", "ts"),
        ("ts", "y4m"),
    ):
        yield HostileFile(f"{suffix}-as.{claimed}", f"a whole {suffix} file named .{claimed}", sources[suffix])
    for suffix in ("mp4", "y4m"):
        yield HostileFile(f"zeros.{suffix}", "100 kB of zeros", bytes(100_000))
    playlist = b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    yield HostileFile("playlist.m3u8", "a playlist that points to a network", playlist)
    yield HostileFile("concat.txt", "a list of other files", b"ffconcat version 1.0\nfile /etc/passwd\n")
    yield HostileFile("itself.m3u8", "a playlist that plays itself", b"#EXTM3U\n#EXTINF:10,\nitself.m3u8\n")


def _print_corpus() -> None:
    for file in make_corpus(Path(sys.argv[1])):
        sys.stdout.write(f"{file.name}\t{len(file.content)}\t{file.how}\n")


if __name__ == "__main__":
    _print_corpus()
