"""Truncated files, found by the sizes that their containers declare."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from fmanet_cli.video.read import declared_sizes

_MATROSKA_SEGMENT = 0x18538067
_EBML_HEADER = bytes.fromhex("1a45dfa3")
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_MXF_PARTITION = bytes.fromhex("060e2b34020501010d010201")
_DV_HEADER = bytes.fromhex("1f0700")
_BOXES = (b"ftyp", b"styp", b"moov", b"mdat", b"wide", b"free", b"skip")
_REAL_MEDIA_SLACK = 18
"""FFmpeg counts some bytes of a header twice."""


def missing_bytes(path: Path) -> int:
    """How many bytes at least a file lacks against what its own container says; 0 when whole or not known.

    Knows MP4 and MOV (top-level boxes), Matroska and WebM (the segment), AVI (RIFF chunks), RealMedia (chunks), WMV and
    Flash (the size in their header), Ogg (the last page), MXF (where its last part is), GIF (its blocks up to the one
    that ends it), and what comes in packets of one size: MPEG-TS, DVD's program streams, DV, YUV4MPEG2. A file that
    ends between two pieces passes where nothing says how many there are.
    """
    total = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64)
        if len(head) < 64:
            return 0
        for is_meant, missing in _KINDS:
            if is_meant(head):
                return missing(file, total)
    return 0


def _missing_in_boxes(file: BinaryIO, total: int) -> int:
    position = 0
    while position + 8 <= total:
        file.seek(position)
        size, _ = struct.unpack(">I4s", file.read(8))
        if size == 0:
            return 0
        if size == 1:
            extended = file.read(8)
            if len(extended) < 8:
                return 8 - len(extended)
            size = int.from_bytes(extended, "big")
        if size < 8:
            return 0
        position += size
    return max(0, position - total)


def _missing_in_matroska(file: BinaryIO, total: int) -> int:
    position = 0
    while position < total:
        file.seek(position)
        element = file.read(12)
        identifier_length = _vint_length(element[:1])
        if not identifier_length or len(element) <= identifier_length:
            return 0
        size_length = _vint_length(element[identifier_length : identifier_length + 1])
        size_bytes = element[identifier_length : identifier_length + size_length]
        if not size_length or len(size_bytes) < size_length:
            return 0
        size = int.from_bytes(size_bytes, "big") & ((1 << 7 * size_length) - 1)
        is_unknown = size == (1 << 7 * size_length) - 1
        if is_unknown:
            return 0
        position += identifier_length + size_length + size
        if int.from_bytes(element[:identifier_length], "big") == _MATROSKA_SEGMENT:
            return max(0, position - total)
    return max(0, position - total)


def _vint_length(first: bytes) -> int:
    """Length in bytes of an EBML variable-size integer, from its first byte; 0 when there is none."""
    return 9 - first[0].bit_length() if first and first[0] else 0


def _missing_in_riff(file: BinaryIO, total: int) -> int:
    position = 0
    while position + 8 <= total:
        file.seek(position)
        name, size = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF":
            break
        position += 8 + size + size % 2
    return max(0, position - total)


def _missing_in_real_media(file: BinaryIO, total: int) -> int:
    position = 0
    while position + 8 <= total:
        file.seek(position)
        _, size = struct.unpack(">4sI", file.read(8))
        if size < 8:
            return 0
        position += size
    missing = position - total
    return missing if missing > _REAL_MEDIA_SLACK else 0


_KINDS: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO, int], int]], ...] = (
    (lambda head: head[4:8] in _BOXES, _missing_in_boxes),
    (lambda head: head.startswith(_EBML_HEADER), _missing_in_matroska),
    (lambda head: head.startswith(b"RIFF"), _missing_in_riff),
    (lambda head: head.startswith(b".RMF"), _missing_in_real_media),
    (lambda head: head.startswith(_ASF_HEADER), declared_sizes.in_asf),
    (lambda head: head.startswith(b"FLV\x01"), declared_sizes.in_flv),
    (lambda head: head.startswith(b"OggS"), declared_sizes.in_ogg),
    (lambda head: head.startswith(_MXF_PARTITION), declared_sizes.in_mxf),
    (lambda head: head.startswith(b"\0\0\1\xba"), declared_sizes.in_packs),
    (lambda head: head.startswith((b"GIF87a", b"GIF89a")), declared_sizes.in_gif),
    (lambda head: head.startswith(_DV_HEADER), declared_sizes.in_dv_frames),
    (lambda head: head.startswith(b"YUV4MPEG2 "), declared_sizes.in_y4m_frames),
    (lambda head: 0x47 in (head[0], head[4]), declared_sizes.in_transport_packets),
)
