"""What the packets of a file say without decoding: their times, counts and digests for every stream."""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av

from fmanet_cli.video.read.describe import codec_name
from fmanet_cli.video.read.frame_times import lacks_presentation_times
from fmanet_cli.video.read.length import stream_end_seconds
from fmanet_cli.video.read.rational import to_fraction
from fmanet_cli.video.read.restarts import is_restart, usual_step

REHEARSED_PACKETS = 10
"""Of each stream, with which a run tries whether an output takes it."""

SCANNED_PACKETS = 400
"""Of all other streams, among which those of a rehearsal are looked for."""

_DECODED_PACKETS = 16
_EMPTY_MOV_TEXT = b"\x00\x00"


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a file whose packets count, in the file's own time."""

    start_seconds: Fraction | None = None
    """From here on; None = from the first packet."""
    end_seconds: Fraction | None = None
    """Up to here, not included; None = to the last packet."""


@dataclass(frozen=True, slots=True, eq=False)
class StreamPackets:
    """All packets of one stream, in the order of the file."""

    time_base: Fraction
    """Seconds per tick of `pts` and `end`."""
    pts: array[int] = field(default_factory=lambda: array("q"))
    """Presentation timestamps in ticks; shorter than `count` where the file leaves some out."""
    count: int = 0
    """How many packets there are."""
    byte_count: int = 0
    """Size of all payloads."""
    digest: str = ""
    """SHA-256 of all payloads joined, without ADTS headers; empty where it was not asked for."""
    first: int = 0
    """When the first shown packet begins, in ticks."""
    end: int = 0
    """When the last shown packet ends, in ticks."""
    last_duration: int = 0
    """Of the packet that is shown last, in ticks; 0 = not said."""
    hidden: int = 0
    """Packets that an edit list cuts out."""
    restarts: bool = False
    """Whether the timestamps start again or jump by hours."""
    starts_clean: bool = True
    """Whether the first packet is a key frame and nothing is shown before it."""

    @property
    def is_timed(self) -> bool:
        """Whether every packet says when it is shown."""
        return len(self.pts) == self.count


@dataclass(frozen=True, slots=True, eq=False)
class FilePackets:
    """The packets of a file."""

    streams: dict[int, StreamPackets]
    """By index of the stream."""
    problem: str = ""
    """Why reading stopped early; empty when it did not."""
    declared_end_seconds: Fraction | None = None
    """When the main video ends by the container's word; None = it does not say."""
    first_in_span: dict[int, list[av.Packet]] = field(default_factory=dict)
    """The first packets of sound that belong to the span, to be decoded."""


def packets_of(container: av.container.InputContainer, *, video_index: int, span: Span | None = None) -> FilePackets:
    """Read every packet of an opened file once, in bounded memory but for 8 bytes of time for each.

    video_index: of the main video, whose payload is not hashed and which `span` leaves whole.
    """
    problem = ""
    declared_end = stream_end_seconds(container.streams[video_index])
    wanted = [stream for stream in container.streams if stream.type not in ("attachment", None)]
    collectors = {
        stream.index: _Collector(stream, Span() if stream.index == video_index else span or Span()) for stream in wanted
    }
    heard: dict[int, list[av.Packet]] = {}
    packets = container.demux(*wanted) if wanted else iter(())
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            problem = str(error.strerror)
            break
        if packet is None:
            break
        index = packet.stream.index
        if packet.size:
            is_inside = collectors[index].add(packet, hashed=index != video_index)
            if is_inside and packet.stream.type == "audio":
                _keep_first(heard, packet, _DECODED_PACKETS)
    return FilePackets(
        streams={number: collector.result() for number, collector in collectors.items()},
        problem=problem,
        declared_end_seconds=declared_end,
        first_in_span=heard,
    )


def _keep_first(kept: dict[int, list[av.Packet]], packet: av.Packet, count: int) -> None:
    packets = kept.setdefault(packet.stream.index, [])
    if len(packets) < count:
        packets.append(packet)


class _Collector:
    """Adds up the packets of one stream."""

    def __init__(self, stream: Any, span: Span):
        self._base = to_fraction(stream.time_base) or Fraction(1)
        self._codec = codec_name(stream)
        self._kind = stream.type
        self._span = span
        self._has_pts = stream.type != "video" or not lacks_presentation_times(stream)
        self._pts = array("q")
        self._digest = hashlib.sha256()
        self._count = self._byte_count = self._hidden = 0
        self._first: int | None = None
        self._last: tuple[int, int] | None = None
        self._previous_dts: int | None = None
        self._restarts, self._starts_clean = False, True

    def add(self, packet: av.Packet, *, hashed: bool) -> bool:
        """Take one packet that is not empty; return whether it belongs to the span and counts."""
        pts, duration = self._clipped(packet)
        if pts is None and duration < 0:
            return False
        if hashed:
            payload = self._payload(packet)
            if payload is None:
                return False
            self._digest.update(payload)
            self._byte_count += len(payload)
        if packet.is_discard:
            self._hidden += 1
        if not self._count:
            self._starts_clean = packet.is_keyframe
        elif pts is not None and self._pts and pts < self._pts[0]:
            self._starts_clean = False
        self._note_order(packet)
        self._count += 1
        if pts is not None and self._has_pts:
            self._pts.append(pts)
            if self._first is None and not packet.is_discard:
                self._first = pts
            if self._last is None or pts >= self._last[0]:
                self._last = pts, duration
        return True

    def result(self) -> StreamPackets:
        """What was added up."""
        last, duration = self._last or (0, 0)
        return StreamPackets(
            time_base=self._base,
            pts=self._pts,
            count=self._count,
            byte_count=self._byte_count,
            digest=self._digest.hexdigest() if self._byte_count else "",
            first=self._first or 0,
            end=last + duration,
            last_duration=duration,
            hidden=self._hidden,
            restarts=self._restarts,
            starts_clean=self._starts_clean,
        )

    def _clipped(self, packet: av.Packet) -> tuple[int | None, int]:
        """Timestamp and duration inside the span; (None, -1) for a packet outside it.

        Subtitles that are shown across the start of the span begin there.
        """
        time, duration = packet.pts if packet.pts is not None else packet.dts, packet.duration or 0
        start, end = self._span.start_seconds, self._span.end_seconds
        if time is None or (start is None and end is None) or self._kind == "video":
            return packet.pts, duration
        if end is not None and time * self._base >= end:
            return None, -1
        if start is not None and time * self._base < start:
            if self._kind != "subtitle" or (time + duration) * self._base <= start:
                return None, -1
            first = round(start / self._base)
            return first, time + duration - first
        return packet.pts, duration

    def _payload(self, packet: av.Packet) -> bytes | None:
        """The bytes that a copy has to keep; None for MP4's filling between two subtitles."""
        payload = bytes(packet)
        if self._codec == "mov_text" and payload == _EMPTY_MOV_TEXT:
            return None
        if self._codec == "aac" and len(payload) > 9 and payload[0] == 0xFF and payload[1] & 0xF6 == 0xF0:
            return payload[7 if payload[1] & 1 else 9 :]
        return payload

    def _note_order(self, packet: av.Packet) -> None:
        # Where frames are reordered, times of presentation go back by themselves.
        dts = packet.dts if packet.dts is not None or self._kind == "video" else packet.pts
        if dts is None:
            return
        step = usual_step(packet.duration, self._base)
        if self._previous_dts is not None and is_restart(self._previous_dts, dts, step=step, time_base=self._base):
            self._restarts = True
        self._previous_dts = dts
