"""Closed pieces of an encoded video in a folder: written so that a crash loses none of them, and checked before use."""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import json
import re
import secrets
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from fmanet_cli.errors import OptionError, VideoWriteError
from fmanet_cli.files import sha256_of
from fmanet_cli.video.pixels.colour import ImageOrPlanes
from fmanet_cli.video.write.codecs import VideoSettings, add_video_stream
from fmanet_cli.video.write.encoder import VideoEncoder
from fmanet_cli.video.write.partial_files import PART_SUFFIX, replace_durably, write_durably
from fmanet_cli.video.write.span_grid import SpanGrid

_SUFFIX = ".segment"
_TABLE_SUFFIX = ".json"
_NAME_DIGITS = 9
WHOLE_NAME = "whole.json"
"""What is noted in the folder of the finished output, before that gets its name."""

_OWN_NAME = re.compile(
    rf"\d{{{_NAME_DIGITS}}}\.(segment|json)(\.[0-9a-f]{{8}})?(\.part)?|(journal|whole)\.json(\.part)?|lock|\.whole\..*"
    r"|part-\d{5}-of-\d{5}\.(lock|json)(\.part)?|shared\.[0-9a-f]{8}\.token"
)
"""Everything that is ever written into a folder of segments."""

_LEAD_TICKS = 64
"""Frames are shown so much later than they are decoded; more than any encoder reorders."""
_LONGEST_TICK_SECONDS = Fraction(1)
_MOST_UNITS = 1 << 24
"""Of a time base, in a tick. MP4 holds that delay in 31 bits, too few for a frame an hour or for nanoseconds."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One closed piece: its file, and when its frames are shown."""

    path: Path
    """The file."""
    first: int
    """Number of its first frame, from 0."""
    pts: tuple[int, ...]
    """Presentation timestamps of the source, in display order."""
    durations: tuple[int, ...]
    """In the same ticks."""
    order: tuple[int, ...]
    """For each packet in coding order the number of its frame in display order, from 0 in each segment."""

    @property
    def frame_count(self) -> int:
        """Frames in it."""
        return len(self.pts)

    @property
    def last(self) -> int:
        """Number of the frame after its last one."""
        return self.first + len(self.pts)


class SegmentFolder:
    """The closed segments of one output, spans of frames in any order and whoever made them; whole ones are kept."""

    def __init__(self, folder: Path, *, frames: int, is_shared: bool = False):
        """frames: at most in each segment. What is damaged or holds the frames of another segment is removed.

        is_shared: others are at work in the folder; nothing is removed.

        Raises VideoWriteError when the folder cannot be cleared.
        """
        if frames < 1:
            raise OptionError(f"a segment must have at least 1 frame, got {frames}")
        self.folder = folder
        self.segment_frames = frames
        self.grid = SpanGrid(frames)
        """Where a segment has to begin: told by the frames that pass through it, nowhere if none do."""
        # Replaced, never changed: workers add while others look.
        self._closed: dict[int, Segment] = {}
        self._adding = threading.Lock()
        self.look_again()
        if not is_shared:
            self._remove_others()

    @property
    def segments(self) -> list[Segment]:
        """All of them, in the order of their frames."""
        return list(self._closed.values())

    @property
    def frame_count(self) -> int:
        """Frames in all segments."""
        return sum(segment.frame_count for segment in self._closed.values())

    @property
    def pts(self) -> dict[int, int]:
        """Presentation timestamp of every frame in a segment, by the number of the frame."""
        return {number: pts for segment in self.segments for number, pts in enumerate(segment.pts, segment.first)}

    def holds(self, number: int) -> bool:
        """Whether a frame is in a closed segment."""
        closed = self._closed
        firsts = list(closed)
        place = bisect.bisect_right(firsts, number) - 1
        return place >= 0 and number < closed[firsts[place]].last

    def gap(self, number: int = 0) -> tuple[int, int | None]:
        """The first frame from `number` on that no segment holds, and where the next segment begins (None: nowhere).

        Segments that hold frames 0 to 8 and 20 to 30 leave `gap() == (8, 20)` and `gap(20) == (30, None)`.
        """
        for segment in self.segments:
            if segment.first > number:
                return number, segment.first
            number = max(number, segment.last)
        return number, None

    def gaps(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The parts of the span [first, last) that no segment holds, in order."""
        while first < last:
            first, next_first = self.gap(first)
            if first < last:
                end = last if next_first is None else min(last, next_first)
                yield first, end
                first = end

    def take(self, first: int, count: int) -> str:
        """Take in a segment that another one has closed, once it holds so many frames and its noted content.

        Returns what is wrong with it; empty when it is taken in.
        """
        segment = _read_segment(_segment_path(self.folder, first))
        if segment is None:
            return f"the segment from frame {first} on is missing or damaged in {self.folder}"
        if segment.frame_count != count:
            return f"the segment from frame {first} on has {segment.frame_count} frames instead of {count}"
        self.add(segment)
        return ""

    def look_again(self) -> None:
        """Take in the segments that others have closed since the last look."""
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            if not path.stem.isdecimal() or int(path.stem) in self._closed:
                continue
            segment = _read_segment(path)
            if segment is not None and not self._overlaps(segment):
                self.add(segment)

    def add(self, segment: Segment) -> None:
        """Take in a segment that was closed just now."""
        with self._adding:
            closed = self._closed | {segment.first: segment}
            self._closed = dict(sorted(closed.items()))

    def begin(self, settings: VideoSettings) -> SegmentWriter:
        """The writer of the next segment: it begins at the first gap and ends where the gap or its length does."""
        first, next_first = self.gap()
        room = self.segment_frames if next_first is None else min(self.segment_frames, next_first - first)
        return SegmentWriter(self.folder, settings, first=first, room=room)

    def clear(self) -> None:
        """Remove every segment."""
        self._closed = {}
        self._remove_others()

    def _overlaps(self, segment: Segment) -> bool:
        return any(other.first < segment.last and segment.first < other.last for other in self._closed.values())

    def _remove_others(self) -> None:
        kept = {segment.path.stem for segment in self._closed.values()}
        try:
            for path in self.folder.iterdir():
                is_own = _OWN_NAME.fullmatch(path.name) is not None and path.name[:_NAME_DIGITS].isdecimal()
                if is_own and (path.suffix == PART_SUFFIX or path.stem not in kept):
                    path.unlink()
        except OSError as error:
            raise VideoWriteError(f"{self.folder} cannot be cleared: {error.strerror or error}") from error


class SegmentWriter:
    """Encodes the frames of one segment with an encoder of their own, so that nothing refers to another segment."""

    def __init__(self, folder: Path, settings: VideoSettings, *, first: int, room: int):
        """first: number of the first frame. room: frames after which it is full."""
        self.first, self.end = first, first + room
        self._path = _segment_path(folder, first)
        # Two workers may make one segment at once, where the first was thought dead.
        self._part = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
        self._tick = min(1 / settings.frame_rate, _LONGEST_TICK_SECONDS, _MOST_UNITS * settings.time_base)
        self._pts: list[int] = []
        self._durations: list[int] = []
        self._order: list[int] = []
        self._ranks: dict[int, int] = {}
        self._output = av.open(f"file:{self._part}", "w", format=settings.codec.segments_in)
        self._encoder = VideoEncoder(add_video_stream(self._output, settings), settings)
        self._output.start_encoding()

    def write(self, image: ImageOrPlanes, *, pts: int, duration: int, captioned: av.VideoFrame | None = None) -> None:
        """Encode one frame."""
        rank, own_pts = len(self._pts), pts - self._pts[0] if self._pts else 0
        self._pts.append(pts)
        self._durations.append(duration)
        self._ranks[own_pts] = rank
        for packet in self._encoder.encode(image, pts=own_pts, duration=duration, captioned=captioned):
            self._mux(packet)

    def close(self) -> Segment:
        """Finish the file, bring it to the disk, and note beside it what it holds."""
        for packet in self._encoder.finish():
            self._mux(packet)
        self._output.close()
        segment = Segment(self._path, self.first, tuple(self._pts), tuple(self._durations), tuple(self._order))
        if sorted(segment.order) != list(range(len(segment.pts))):
            raise VideoWriteError(f"the encoder gave {len(segment.order)} packets for {len(segment.pts)} frames")
        content = {"size_bytes": self._part.stat().st_size, "sha256": sha256_of(self._part)}
        replace_durably(self._part, self._path)
        _write_table(segment, content)
        return segment

    def discard(self) -> None:
        """Stop and leave nothing behind."""
        with contextlib.suppress(Exception):
            self._output.close()
        self._part.unlink(missing_ok=True)

    def _mux(self, packet: av.Packet) -> None:
        assert packet.pts is not None
        rank = self._ranks.pop(packet.pts)
        number = len(self._order)
        self._order.append(rank)
        # Ranks instead of times: containers round and shift times, each in its own way.
        packet.pts, packet.dts, packet.duration, packet.time_base = rank + _LEAD_TICKS, number, 1, self._tick
        self._output.mux(packet)


def segment_names(first: int) -> tuple[str, str]:
    """Names of the files of the segment that begins with a frame: the content, and its table, which makes it count."""
    path = _segment_path(Path(), first)
    return path.name, path.with_suffix(_TABLE_SUFFIX).name


def part_name(number: int, count: int, suffix: str) -> str:
    """Name of a file that belongs to one of several parts of a film."""
    return f"part-{number:05d}-of-{count:05d}.{suffix}"


def count_frames(folder: Path) -> int:
    """Frames in the segments of a folder, by their tables alone; 0 where it cannot be looked into."""
    try:
        paths = [path for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal()]
    except OSError:
        return 0
    tables = map(_read_table, paths)
    return sum(len(table["pts"]) for table in tables if table is not None)


def remove_folder(folder: Path) -> None:
    """Remove what was made here from a folder of segments, and the folder if nothing else is in it."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _OWN_NAME.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    path.unlink()
        folder.rmdir()


def _segment_path(folder: Path, first_frame: int) -> Path:
    return folder / f"{first_frame:0{_NAME_DIGITS}d}{_SUFFIX}"


def _read_segment(path: Path) -> Segment | None:
    """A segment by its file; None when it is not whole."""
    table = _read_table(path)
    if table is None:
        return None
    try:
        if path.stat().st_size != table["size_bytes"] or sha256_of(path) != table["sha256"]:
            return None
    except OSError:
        return None
    return Segment(path, int(path.stem), tuple(table["pts"]), tuple(table["durations"]), tuple(table["order"]))


def _write_table(segment: Segment, content: dict[str, Any]) -> None:
    table = {key: value for key, value in asdict(segment).items() if key not in ("path", "first")} | content
    text = json.dumps(table)
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_durably(segment.path.with_suffix(_TABLE_SUFFIX), f"{digest}\n{text}\n")


def _read_table(segment: Path) -> dict[str, Any] | None:
    """What is noted of a segment; None when nothing is, or it was not written by `_write_table`."""
    try:
        digest, text = segment.with_suffix(_TABLE_SUFFIX).read_text(encoding="utf-8").split("\n", 1)
    except (OSError, ValueError):
        return None
    text = text.rstrip("\n")
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        return None
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return table if _is_table(table) else None


def _is_table(table: Any) -> bool:
    """Whether something has the shape of what `_write_table` writes. A digest can be forged like all else."""
    if not isinstance(table, dict) or not isinstance(table.get("size_bytes"), int):
        return False
    columns: list[Any] = [table.get(name) for name in ("pts", "durations", "order")]
    if not all(isinstance(column, list) and all(type(value) is int for value in column) for column in columns):
        return False
    pts, durations, order = columns
    return len(pts) == len(durations) > 0 and sorted(order) == list(range(len(pts))) and pts == sorted(set(pts))
