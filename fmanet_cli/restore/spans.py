"""The spans of a film that are still to be restored, found while its frames pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fmanet_cli.restore.span_worker import FilmTask, SpanTask
from fmanet_cli.video.frames import Frame
from fmanet_cli.video.write.segments import SegmentFolder


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is remembered of a frame that passed."""

    number: int
    pts: int
    duration: int
    starts_shot: bool


def span_tasks(frames: Iterable[Frame], film: FilmTask, segments: SegmentFolder, *, radius: int) -> Iterator[SpanTask]:
    """Yields a task for every span without a segment, as soon as its neighbours are known.

    Args:
        frames: of the whole film, with shots marked; only their times are kept.
        film: what all tasks share.
        segments: what is closed already; spans are as long as its segments, shorter where a gap ends.
        radius: neighbours on each side that a window needs.
    """
    known: deque[_Seen] = deque()
    first, last = _next_span(segments, 0)
    number = 0
    for number, frame in enumerate(frames, 1):
        known.append(_Seen(number - 1, frame.pts, frame.duration, frame.starts_shot))
        while number >= last + radius:
            yield _task(film, known, first, last, radius)
            first, last = _next_span(segments, last)
        while known and known[0].number < first - radius:
            known.popleft()
    while first < number:
        yield _task(film, known, first, min(last, number), radius)
        first, last = _next_span(segments, last)


def _next_span(segments: SegmentFolder, number: int) -> tuple[int, int]:
    """The first frame from `number` on that no segment holds, and the end of the span that begins there."""
    first, next_first = segments.gap(number)
    last = first + segments.segment_frames
    return first, last if next_first is None else min(last, next_first)


def _task(film: FilmTask, known: Iterable[_Seen], first: int, last: int, radius: int) -> SpanTask:
    seen = [frame for frame in known if first - radius <= frame.number < last + radius]
    return SpanTask(
        film=film,
        first=first,
        count=last - first,
        pts=tuple(frame.pts for frame in seen),
        durations=tuple(frame.duration for frame in seen),
        cuts=frozenset(frame.number for frame in seen if frame.starts_shot),
        lead=first - seen[0].number,
    )
