"""Pictures to packets with exact timestamps."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np

from fmanet_cli.video.pixels.colour import Picture
from fmanet_cli.video.pixels.formats import planes_to_frame, rgb_to_frame
from fmanet_cli.video.write.codecs import VideoSettings
from fmanet_cli.video.write.decode_timestamps import DecodeTimes


class VideoEncoder:
    """One encoder: pictures in, packets with right timestamps out."""

    def __init__(self, stream: av.VideoStream, settings: VideoSettings):
        self._stream = stream
        self._settings = settings
        self._times: DecodeTimes | None = None

    def encode(self, picture: Picture, *, pts: int, duration: int) -> Iterator[av.Packet]:
        """Take one picture; yield the packets that are ready."""
        if self._times is None:
            self._times = DecodeTimes(reorder_depth=getattr(self._stream.codec_context, "reorder_depth", 0))
        pix_fmt, colour = self._settings.pix_fmt, self._settings.colour
        if isinstance(picture, np.ndarray):
            frame = rgb_to_frame(picture, pix_fmt, colour)
        else:
            frame = planes_to_frame(picture, pix_fmt, colour)
        frame.pts, frame.time_base, frame.duration = pts, self._settings.time_base, duration
        self._times.shows(pts, duration)
        for packet in self._stream.encode(frame):
            yield from self._times.timed(packet)

    def finish(self) -> Iterator[av.Packet]:
        """Drain the encoder."""
        if self._times is None:
            return
        for packet in self._stream.encode(None):
            yield from self._times.timed(packet)
        yield from self._times.finish()
