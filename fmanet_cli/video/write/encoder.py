"""Frames to packets."""

from __future__ import annotations

import av
import numpy as np

from fmanet_cli.video.pixels.colour import ImageOrPlanes
from fmanet_cli.video.pixels.formats import planes_to_frame, rgb_to_frame
from fmanet_cli.video.write.captions import CaptionCarrier
from fmanet_cli.video.write.codecs import VideoSettings


class VideoEncoder:
    """One encoder: frames in, packets in coding order out, with presentation timestamps only that can be relied on."""

    def __init__(self, stream: av.VideoStream, settings: VideoSettings):
        self._stream = stream
        self._settings = settings
        self._carrier = CaptionCarrier(settings.height, settings.width, settings.pix_fmt)

    @property
    def reorder_depth(self) -> int:
        """By how many frames the encoder says that it reorders; known once the output is started."""
        return int(getattr(self._stream.codec_context, "reorder_depth", 0))

    def encode(
        self, image: ImageOrPlanes, *, pts: int, duration: int, captioned: av.VideoFrame | None = None
    ) -> list[av.Packet]:
        """Take one frame, and the decoded one whose closed captions it has; the packets that are ready."""
        pix_fmt, colour = self._settings.pix_fmt, self._settings.colour
        into = None
        if captioned is not None and self._settings.codec.carries_captions:
            into = self._carrier.frame(captioned)
        if isinstance(image, np.ndarray):
            frame = rgb_to_frame(image, pix_fmt, colour, into=into)
        else:
            frame = planes_to_frame(image, pix_fmt, colour, into=into)
        frame.pts, frame.time_base, frame.duration = pts, self._settings.time_base, duration
        return self._stream.encode(frame)

    def finish(self) -> list[av.Packet]:
        """Drain the encoder."""
        return self._stream.encode(None)
