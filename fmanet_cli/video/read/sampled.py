"""Some pictures of a video by their numbers, read in one pass; the others are decoded but not converted."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import av
import numpy as np

from fmanet_cli.video.frames import Frame, VideoInfo
from fmanet_cli.video.read.reader import VideoReader

_NO_IMAGE = np.zeros((1, 1, 3), np.float32)


def sampled_pictures(
    info: VideoInfo, numbers: Collection[int], *, deinterlace: str = "auto", colour: str = "auto"
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield number and (H, W, 3) float32 RGB image of the frames that a reader of `info` gives, in order.

    Numbers beyond the end are left out; damage is passed over.

    Raises:
        VideoReadError: nothing can be decoded.
    """
    start, end = info.trim_start_seconds, info.trim_end_seconds
    reader = _SamplingReader(
        info.path,
        start_seconds=None if start is None else float(start),
        end_seconds=None if end is None else float(end),
        on_error="continue",
        deinterlace=deinterlace,
        colour=colour,
        stream=None if info.container == "image2" else info.stream_index,
        dolby_vision="ignore",
    )
    reader.numbers = frozenset(numbers)
    with reader:
        last = max(numbers, default=-1)
        for number, frame in enumerate(reader):
            if number in reader.numbers:
                yield number, frame.image
            if number >= last:
                break


class _SamplingReader(VideoReader):
    numbers: frozenset[int] = frozenset()

    def _as_frame(self, pts: int, picture: av.VideoFrame, *, duration: int) -> Frame:
        if self.frames_read in self.numbers:
            return super()._as_frame(pts, picture, duration=duration)
        return Frame(_NO_IMAGE, pts=pts, time_base=self.info.time_base, duration=max(0, duration))
