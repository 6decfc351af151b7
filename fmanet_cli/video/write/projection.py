"""Marks of 360 degree and stereo video for a stream of packets.

PyAV copies what a stream says beside its pixels, but cannot set it. So a file of one packet is made in memory, the
boxes go into it, and the stream that is read from there is the template of the output's, which libavformat writes.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator

import av

from fmanet_cli.video.frames import VideoMarks
from fmanet_cli.video.write.codecs import VideoSettings
from fmanet_cli.video.write.containers import Container

TEMPLATES = ("mp4", "mov")
"""Containers of segments that a template can be made of."""

_EQUIRECTANGULAR, _CUBEMAP, _TILED = 0, 1, 2
_STEREO_MODES = {"top and bottom": 1, "side by side": 2}
_ENTRY_PATH = ((b"moov", 8), (b"trak", 8), (b"mdia", 8), (b"minf", 8), (b"stbl", 8), (b"stsd", 16))
"""Boxes around the description of a stream, with the length of their headers."""


def projection_fits(mapping: tuple[int, ...]) -> bool:
    """Whether MP4 and Matroska hold this mapping. Padding counts pixels, of which the output has more."""
    return bool(mapping) and mapping[0] in (_EQUIRECTANGULAR, _CUBEMAP, _TILED) and not mapping[-1]


def stereo_fits(stereo: str) -> bool:
    """Whether this mark of a stream can be written where the container holds it."""
    return stereo in _STEREO_MODES


@contextlib.contextmanager
def marked(
    encoded: av.VideoStream, settings: VideoSettings, container: Container, marks: VideoMarks
) -> Iterator[av.VideoStream]:
    """A stream as `encoded`, which is read from a file of its own, with the marks that `container` shall hold."""
    boxes = _boxes(marks, holds_stereo=container.holds_stereo)
    form = settings.codec.segments_in
    if not boxes or form not in TEMPLATES:
        yield encoded
        return
    content = io.BytesIO()
    with av.open(content, "w", format=form) as output:
        copy = output.add_stream_from_template(encoded, opaque=True)
        source = encoded.container
        assert isinstance(source, av.container.InputContainer)
        packet = next(packet for packet in source.demux(encoded) if packet.size)
        packet.stream = copy
        output.mux(packet)
    with av.open(io.BytesIO(_described(content.getvalue(), boxes))) as template:
        yield template.streams.video[0]


def _boxes(marks: VideoMarks, *, holds_stereo: bool) -> bytes:
    stereo = b""
    if holds_stereo and stereo_fits(marks.stereo):
        stereo = _box(b"st3d", bytes(4) + bytes([_STEREO_MODES[marks.stereo]]))
    if not marks.mapping:
        return stereo
    projection, yaw, pitch, roll, left, top, right, bottom, _ = marks.mapping
    pose = _box(b"prhd", struct.pack(">I3i", 0, yaw, pitch, roll))
    if projection == _CUBEMAP:
        shape = _box(b"cbmp", bytes(12))
    else:
        bounds = (bound & 0xFFFFFFFF for bound in (top, bottom, left, right))
        shape = _box(b"equi", struct.pack(">5I", 0, *bounds))
    head = _box(b"svhd", bytes(5))
    return stereo + _box(b"sv3d", head + _box(b"proj", pose + shape))


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def _described(content: bytes, boxes: bytes) -> bytes:
    """An MP4 with boxes added to the description of its only stream; no sample of it can be read any more."""
    around, start, end = [], 0, len(content)
    for name, header in _ENTRY_PATH:
        while content[start + 4 : start + 8] != name:
            start += int.from_bytes(content[start : start + 4], "big")
            assert start < end, name
        end = start + int.from_bytes(content[start : start + 4], "big")
        around.append(start)
        start += header
    around.append(start)
    end = start + int.from_bytes(content[start : start + 4], "big")
    longer = bytearray(content[:end] + boxes + content[end:])
    for at in around:
        size = int.from_bytes(longer[at : at + 4], "big")
        longer[at : at + 4] = struct.pack(">I", size + len(boxes))
    return bytes(longer)
