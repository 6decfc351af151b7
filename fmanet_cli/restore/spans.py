"""The spans of a film that are still to be restored, found while its frames pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
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


def span_tasks(
    frames: Iterable[Frame],
    film: FilmTask,
    segments: SegmentFolder,
    *,
    radius: int,
    chosen: Callable[[int], bool] = lambda _: True,
) -> Iterator[SpanTask]:
    """Yield a task for everything that no segment holds, span by span, as soon as its neighbours are known.

    Args:
        frames: of the whole film, with shots marked; only their times are kept.
        film: what all tasks share.
        segments: what is closed already; its grid says where spans begin.
        radius: neighbours on each side that a window needs.
        chosen: whether the span of a number, from 0, is looked at.
    """
    known: deque[_Seen] = deque()
    ended: deque[tuple[int, int]] = deque()
    spans = begin = 0

    def tasks(passed: int | None) -> Iterator[SpanTask]:
        """Of the ended spans whose neighbours are among the passed frames; None = all frames have passed."""
        while ended and (passed is None or passed >= ended[0][1] + radius):
            for first, last in segments.gaps(*ended.popleft()):
                yield _task(film, known, first, last, radius)

    for number, frame in enumerate(frames):
        if segments.grid.add(starts_shot=frame.starts_shot) and number:
            ended.extend([(begin, number)] if chosen(spans) else [])
            spans, begin = spans + 1, number
        known.append(_Seen(number, frame.pts, frame.duration, frame.starts_shot))
        yield from tasks(number + 1)
        oldest = (ended[0][0] if ended else begin) - radius
        while known[0].number < oldest:
            known.popleft()
    if chosen(spans):
        ended.append((begin, segments.grid.frames_passed))
    yield from tasks(None)


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
