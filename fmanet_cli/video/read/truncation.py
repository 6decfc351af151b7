"""Truncated files, found by the sizes that their containers declare."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_MATROSKA_SEGMENT = 0x18538067
_EBML_HEADER = 0x1A45DFA3
_TS_PACKET_BYTES = 188
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_SEARCHED_BYTES = 1 << 16


def missing_bytes(path: Path) -> int:
    """How many bytes a file lacks against what its own container header says; 0 when whole or not known.

    Knows MP4 and MOV (top-level boxes), Matroska and WebM (the segment), AVI (RIFF chunks), WMV and ASF (the size in
    their header) and MPEG-TS (whole packets).
    """
    total = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) < 12:
            return 0
        missing = 0
        if head[4:8] in (b"ftyp", b"styp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            missing = _missing_in_boxes(file, total)
        elif int.from_bytes(head[:4], "big") == _EBML_HEADER:
            missing = _missing_in_matroska(file, total)
        elif head[:4] == b"RIFF":
            missing = _missing_in_riff(file, total)
        elif head == _ASF_HEADER[:12]:
            missing = _missing_in_asf(file, total)
        elif head[0] == 0x47 and path.suffix.lower() in (".ts", ".m2t", ".mpegts"):
            missing = -total % _TS_PACKET_BYTES
        return missing


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


def _missing_in_asf(file: BinaryIO, total: int) -> int:
    file.seek(0)
    header = file.read(_ASF_SEARCHED_BYTES)
    found = header.find(_ASF_FILE_PROPERTIES)
    size = header[found + 40 : found + 48] if found >= 0 else b""
    return max(0, int.from_bytes(size, "little") - total) if len(size) == 8 else 0
