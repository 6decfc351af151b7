"""Spans of frames out of the middle of a video, the same that a reader of the whole video gives."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from fmanet_cli.errors import VideoReadError
from fmanet_cli.video.frames import Frame
from fmanet_cli.video.read.container import ContainerSource
from fmanet_cli.video.read.reader import VideoReader

_REMEMBERED_FRAMES = 16
"""Frames that stay, so that a span may begin with the last frames of the one before."""

_LEAD_FRAMES = 24
"""Seek to so many frames before a span: deinterlacing looks back, and containers count by decode times."""

_WORTH_A_SEEK = 2 * _REMEMBERED_FRAMES
"""Frames that are rather decoded and dropped than jumped over."""


class SpanReader:
    """Reads spans of one video, best in rising order; a context manager.

    A span is told by the timestamps of its frames, which a reader of the whole video has found. Where decoding that
    began in the middle does not give exactly those, it begins anew at the first frame, and so do all later spans.
    """

    def __init__(self, path: str, *, options: dict[str, Any]):
        """options: of `VideoReader`, the same as for the whole video."""
        self._path, self._options = path, options
        self._reader: VideoReader | None = None
        self._seeks = True
        self._has_sought = False
        self._next = 0
        """Number of the frame that comes next; after a seek, of the first one that is wanted."""
        self._remembered: deque[Frame] = deque(maxlen=_REMEMBERED_FRAMES)

    def __enter__(self) -> SpanReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the video."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def check_unchanged(self) -> None:
        """Raise VideoReadError when the source was replaced or written to since the last span was begun."""
        if self._reader is not None:
            self._reader.check_unchanged()

    def read(self, pts: Sequence[int], *, first: int) -> Iterator[Frame]:
        """The frames with these timestamps.

        pts: in ticks, rising, without gaps. first: number of the first of them in the whole video.
        Raises VideoReadError where the video holds other frames.
        """
        for number, wanted in enumerate(pts, first):
            frame = self._frame(number, wanted, pts)
            if frame.pts != wanted:
                raise VideoReadError(
                    f"{self._path} has another frame {number} than when it was first read "
                    f"(pts {frame.pts} instead of {wanted}); run it again from the beginning"
                )
            yield frame

    def _frame(self, number: int, wanted: int, pts: Sequence[int]) -> Frame:
        if (known := next((frame for frame in self._remembered if frame.pts == wanted), None)) is not None:
            return known
        if self._reader is None or number < self._next or (self._seeks and number > self._next + _WORTH_A_SEEK):
            usual_step = max(1, (pts[-1] - pts[0]) // max(1, len(pts) - 1))
            is_far = self._seeks and number > _WORTH_A_SEEK
            self._open(near_pts=wanted - _LEAD_FRAMES * usual_step if is_far else None)
        while (frame := self._advance()) is not None and frame.pts < wanted:
            pass
        if (frame is None or frame.pts != wanted) and self._has_sought:
            self._seeks = False
            self._open(near_pts=None)
            return self._frame(number, wanted, pts)
        if frame is None:
            raise VideoReadError(f"{self._path} ends before it did when it was first read; run it again")
        self._next = number + 1
        return frame

    def _open(self, *, near_pts: int | None) -> None:
        self.close()
        self._remembered.clear()
        self._reader = VideoReader(self._path, **self._options, near_pts=near_pts)
        source = self._reader.source
        self._has_sought = near_pts is not None and isinstance(source, ContainerSource) and source.can_seek
        self._seeks = self._seeks and (near_pts is None or self._has_sought)
        self._next = 0

    def _advance(self) -> Frame | None:
        assert self._reader is not None
        try:
            frame = next(self._reader, None)
        except VideoReadError:
            if not self._has_sought:
                raise
            return None
        if frame is not None:
            self._remembered.append(frame)
        return frame
