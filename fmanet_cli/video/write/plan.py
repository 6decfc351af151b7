"""What an output will be, decided before the first frame: one value for the writer, probe, verification and journal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

from fmanet_cli.video.frames import CAPTIONS, NO_MARKS, DisplayMatrix, Frame, PlanarFrame, VideoInfo, VideoMarks
from fmanet_cli.video.pixels.colour import ImageOrPlanes, PlaneFormat
from fmanet_cli.video.pixels.formats import pixel_layout
from fmanet_cli.video.write.codecs import VideoSettings
from fmanet_cli.video.write.containers import Container
from fmanet_cli.video.write.orientation import oriented
from fmanet_cli.video.write.stream_plan import StreamPlan

CONTAINERS_WITHOUT_ORIGIN = ("mpegts", "mpeg", "avi")
"""Formats whose first timestamp means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPlan:
    """Everything that is decided of an output."""

    like: VideoInfo
    """The source's facts."""
    height: int
    """Of the frames that the writer takes, in pixels."""
    width: int
    """Of the frames that the writer takes, in pixels."""
    container: Container | None
    """None for an image sequence."""
    settings: VideoSettings | None
    """Of the encoder; None for an image sequence."""
    plane_format: PlaneFormat | None = None
    """The planes that planar frames must have; None where only RGB is taken."""
    display_matrix: DisplayMatrix | None = None
    """What the container carries."""
    baked_matrix: DisplayMatrix | None = None
    """By what pixels are turned, where the container cannot carry it."""
    marks: VideoMarks = NO_MARKS
    """What of the source's is carried."""
    streams: StreamPlan = field(default_factory=StreamPlan)
    """What goes beside the video."""
    earliest_sound_seconds: Fraction = Fraction(0)
    """When sound starts before 0, as primed AAC does; 0 when none does."""
    muxer_shift_seconds: Fraction = Fraction(0)
    """What the muxer itself adds to every timestamp."""
    losses: tuple[str, ...] = ()
    """What is lost or changed, one sentence each."""

    @property
    def bit_depth(self) -> int:
        """Bits of every colour component that is written."""
        if self.settings is None:
            return 16 if self.like.bit_depth > 8 else 8
        return pixel_layout(self.settings.pix_fmt).bits

    def as_encoded(self, frame: Frame | PlanarFrame) -> ImageOrPlanes:
        """The image or planes of a restored frame for the encoder, turned where the container cannot say it."""
        if isinstance(frame, PlanarFrame):
            return frame.planes
        return frame.image if self.baked_matrix is None else oriented(frame.image, self.baked_matrix)

    def late_losses(self, marks: Mapping[str, str]) -> list[str]:
        """One sentence for each mark that began after the first frames, name -> where, and is not carried."""
        carries_captions = self.settings is not None and self.settings.codec.carries_captions
        return [
            f"{name} begin {where} and are lost".replace("  ", " ")
            for name, where in marks.items()
            if not (carries_captions and name == CAPTIONS)
        ]

    def shift_seconds(self, first_pts: int) -> Fraction:
        """What is added to every timestamp of the source, from the one of its first frame.

        A part starts at 0, as does what has no origin of its own; negative times are lifted. For instance MPEG-TS that
        starts at 1.4 s is shifted by -1.4 s, and MP4 whose first frame is at 0.5 s not at all.
        """
        like = self.like
        first, shift = first_pts * like.time_base, Fraction(0)
        if like.trim_start_seconds is not None:
            shift = -first
        elif any(name in like.container.split(",") for name in CONTAINERS_WITHOUT_ORIGIN):
            ticks = round(like.start_seconds / like.time_base)
            shift = -min(ticks * like.time_base, first)
        elif first < 0:
            shift = -first
        early = self.earliest_sound_seconds + (0 if like.trim_start_seconds is not None else shift)
        if early < 0 and self.container is not None and not self.container.takes_negative_times:
            shift += math.ceil(-early / like.time_base) * like.time_base
        return shift

    def identity(self) -> dict[str, Any]:
        """Plain values of all that decides over the output's packets, so that an interrupted run can be held to it."""
        video = {} if self.settings is None else asdict(self.settings)
        for known in ("requested", "codec"):
            video.pop(known, None)
        return {
            "container": "" if self.container is None else self.container.name,
            "codec": "" if self.settings is None else self.settings.codec.name,
            "video": video,
            "turned": list(self.baked_matrix or ()),
            "streams": [asdict(planned) for planned in self.streams.streams],
        }
