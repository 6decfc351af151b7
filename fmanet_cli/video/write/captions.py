"""Frames for an encoder that carry the closed captions of decoded ones."""

from __future__ import annotations

from fractions import Fraction

import av
from av.video.frame import PictureType


class CaptionCarrier:
    """Makes frames of an output that carry what a decoded frame carries beside its pixels.

    PyAV cannot add captions to a frame, but FFmpeg's filters hand them on: the decoded frame is scaled to the size and
    format of the output, and its pixels are then written over.
    """

    def __init__(self, height: int, width: int, pix_fmt: str):
        """Size in pixels and pixel format of the frames that are made."""
        self._height, self._width, self._pix_fmt = height, width, pix_fmt
        self._graph: av.filter.Graph | None = None
        self._takes: tuple[int, int, str] | None = None

    def frame(self, captioned: av.VideoFrame) -> av.VideoFrame:
        """A writable frame with the captions of `captioned` and pixels that mean nothing."""
        kind = captioned.height, captioned.width, captioned.format.name
        if self._graph is None or kind != self._takes:
            self._graph, self._takes = self._configured(*kind), kind
        self._graph.push(captioned)
        made = self._graph.pull()
        assert isinstance(made, av.VideoFrame)
        made.make_writable()
        # An encoder would take the kind that the frame had in the source for an order.
        made.pict_type = PictureType.NONE
        return made

    def _configured(self, height: int, width: int, pix_fmt: str) -> av.filter.Graph:
        graph = av.filter.Graph()
        # Times are set when a frame is encoded.
        source = graph.add_buffer(
            width=width, height=height, format=av.VideoFormat(pix_fmt), time_base=Fraction(1, 1000)
        )
        scale = graph.add("scale", f"{self._width}:{self._height}:flags=neighbor")
        target, sink = graph.add("format", self._pix_fmt), graph.add("buffersink")
        for before, after in ((source, scale), (scale, target), (target, sink)):
            before.link_to(after)
        graph.configure()
        return graph
