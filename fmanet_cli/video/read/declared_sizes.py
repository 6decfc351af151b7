"""How many bytes a file lacks against packets of a fixed size, or a size or place that its header says."""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

_HEAD_BYTES = 1 << 16
_TS_BYTES, _M2TS_BYTES, _PACK_BYTES = 188, 192, 2048
_SYNC = 0x47
_CHECKED_PACKETS = 4
_PROGRAM_END = b"\0\0\1\xb9"
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_DV_BYTES = (120_000, 144_000)
"""Of a frame with 525 and with 625 lines; those of several channels are multiples."""

_GIF_IMAGE, _GIF_EXTENSION = b"\x2c", b"\x21"
_OGG_PAGE = b"OggS"
_LONGEST_PAGE = 27 + 255 + 255 * 255
_OGG_SEGMENT_COUNT = 26


def in_transport_packets(file: BinaryIO, total: int) -> int:
    """MPEG-TS, with or without the four bytes of a time before each packet."""
    head = _read(file, 0, _CHECKED_PACKETS * _M2TS_BYTES)
    for size, first in ((_TS_BYTES, 0), (_M2TS_BYTES, _M2TS_BYTES - _TS_BYTES)):
        synced = head[first::size][:_CHECKED_PACKETS]
        if len(synced) == _CHECKED_PACKETS and set(synced) == {_SYNC}:
            return -total % size
    return 0


def in_packs(file: BinaryIO, total: int) -> int:
    """MPEG program streams in sectors, as of DVDs; others say no size."""
    starts = [_read(file, number * _PACK_BYTES, 4) for number in range(1, min(_CHECKED_PACKETS, total // _PACK_BYTES))]
    in_sectors = starts and all(code[:3] == b"\0\0\1" and code[3] > _PROGRAM_END[3] for code in starts)
    return -total % _PACK_BYTES if in_sectors and _read(file, total - 4, 4) != _PROGRAM_END else 0


def in_dv_frames(file: BinaryIO, total: int) -> int:
    """Raw DV."""
    has_625_lines = bool(_read(file, 3, 1)[0] & 0x80)
    return -total % _DV_BYTES[has_625_lines]


def in_y4m_frames(file: BinaryIO, total: int) -> int:
    """YUV4MPEG2 whose frames have no parameters of their own."""
    head = _read(file, 0, _HEAD_BYTES)
    line, _, rest = head.partition(b"\n")
    words = {word[:1]: word[1:] for word in line.decode("latin-1").split()[1:] if word[0] in "WHC"}
    kind = re.match(r"(mono|\d{3})\w*?(?:p(\d+)|(16))?(?:XYSCSS|$)", words.get("C", "420"))
    if kind is None or not rest.startswith(b"FRAME\n") or not {"W", "H"} <= words.keys():
        return 0
    try:
        width, height = int(words["W"]), int(words["H"])
    except ValueError:
        return 0
    across, down = {"420": (2, 2), "422": (2, 1), "411": (4, 1)}.get(kind[1], (1, 1))
    samples = width * height + (0 if kind[1] == "mono" else 2 * -(-width // across) * -(-height // down))
    frame = len(b"FRAME\n") + samples * (1 + (kind[2] is not None or kind[3] is not None))
    return -(total - len(line) - 1) % frame


def in_asf(file: BinaryIO, total: int) -> int:
    """WMV and ASF, whose header says the size of the file."""
    return max(0, _number_after(_read(file, 0, _HEAD_BYTES), _ASF_FILE_PROPERTIES, "<24xQ") - total)


def in_flv(file: BinaryIO, total: int) -> int:
    """Flash video: its script tag says the size of the file, and after each tag comes the size of that."""
    if said := _number_after(_read(file, 0, _HEAD_BYTES), b"filesize\0", ">d"):
        return max(0, int(said) - total)
    (last,) = struct.unpack(">I", _read(file, total - 4, 4))
    if 11 <= last <= total - 4 and int.from_bytes(_read(file, total - 4 - last + 1, 3), "big") + 11 == last:
        return 0
    position = 13
    while position + 11 <= total:
        position += 11 + int.from_bytes(_read(file, position + 1, 3), "big") + 4
    return max(1, position - total)


def in_ogg(file: BinaryIO, total: int) -> int:
    """Ogg, by the length of its last page."""
    tail = _read(file, max(0, total - _LONGEST_PAGE), _LONGEST_PAGE)
    start = tail.rfind(_OGG_PAGE)
    if start < 0:
        return 0
    page = tail[start:]
    header = _OGG_SEGMENT_COUNT + 1
    if len(page) < header or len(page) < header + page[_OGG_SEGMENT_COUNT]:
        return header
    count = page[_OGG_SEGMENT_COUNT]
    return max(0, header + count + sum(page[header : header + count]) - len(page))


def in_mxf(file: BinaryIO, total: int) -> int:
    """MXF, by the place of its last part, which the first one says."""
    head = _read(file, 0, 64)
    length_bytes = head[16] & 0x7F if head[16] & 0x80 else 0
    (footer,) = struct.unpack_from(">Q", head, 17 + length_bytes + 24)
    return max(0, footer + 1 - total) if footer else 0


def in_gif(file: BinaryIO, total: int) -> int:
    """GIF, whose blocks follow each other up to one that says the end."""
    position = 13 + _palette_bytes(_read(file, 10, 1))
    while position < total:
        kind = _read(file, position, 1)
        if kind == _GIF_IMAGE:
            position += 11 + _palette_bytes(_read(file, position + 9, 1))
        elif kind == _GIF_EXTENSION:
            position += 2
        else:
            return 0
        while length := _read(file, position, 1):
            position += 1 + length[0]
            if not length[0]:
                break
    return position + 1 - total


def _palette_bytes(flags: bytes) -> int:
    """Of the table of colours that a GIF's flags announce."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _number_after(head: bytes, name: bytes, form: str) -> int:
    """A number behind a name; 0 where there is none, or none that can be."""
    at = head.find(name) + len(name)
    if at < len(name) or at + struct.calcsize(form) > len(head):
        return 0
    (number,) = struct.unpack_from(form, head, at)
    return int(number) if 0 < number < 1 << 60 else 0


def _read(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(max(0, position))
    return file.read(count)
