"""How one video is read and written: what the user chooses, and what of it decides over the frames."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fmanet_cli.engine.source_look import SourceLook, check_source_look
from fmanet_cli.engine.strength import check_strength
from fmanet_cli.errors import OptionError
from fmanet_cli.files import read_text
from fmanet_cli.shots.detector import DEFAULT_THRESHOLD, check_threshold, is_cut_list
from fmanet_cli.video.frames import VideoInfo
from fmanet_cli.video.read.rational import parse_frame_rate
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.codecs import EncoderOptions
from fmanet_cli.video.write.containers import named_container
from fmanet_cli.video.write.plan import OutputPlan
from fmanet_cli.video.write.planning import plan_output
from fmanet_cli.video.write.side_packets import SidePackets
from fmanet_cli.video.write.sizes import check_size, output_size

SEGMENT_FRAMES = 240
"""Frames that a crash costs at most. Each segment begins with a key frame, which x264 places every 250 frames anyway.
480 frames of a still camera grew by 156 % at 60, by 56 % at 120 and by 2 % at 240; those that move by 1.4 % at 60 and
not from 120 on. The encoder took 2 to 11 % more processor time (2026-11-27)."""

_WITHOUT_EFFECT_ON_FRAMES = {"overwrite", "strict", "verify", "resume", "keep_partial"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSettings:
    """How a video is read and written; the network, device and tiles are the restorer's."""

    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    """Codec, quality, speed and pixel format."""
    overwrite: bool = False
    """Replace an existing target."""
    scale: int = 4
    """Output size over input size: 4, 2 or 1 (deblurring only). The network runs at 4."""
    size: str | None = None
    """Output size instead of `scale`: `WxH`, or a shorter side such as `1080p` with the other that keeps the shape."""
    strength: float = 1.0
    """Share of the network's result in each frame, in [0, 1]; the rest is the source enlarged by bicubic
    interpolation."""
    source_look: SourceLook = "plain"
    """`camera` = a camera has sharpened the frames, so the network sees them softened."""
    audio: str = "copy"
    """`copy`, `aac` or `none`."""
    strict: bool = False
    """Refuse before the run what the target cannot keep."""
    start_seconds: float | None = None
    """Restore from here on."""
    end_seconds: float | None = None
    """Restore up to here, not included."""
    on_error: str = "stop"
    """At damaged input: `stop`, or `continue` with the good frames."""
    stream: int | None = None
    """Index of the video stream; None = the moving one that is marked as default, or has most pixels."""
    dolby_vision: str = "refuse"
    """Of streams whose colours only Dolby Vision knows (profile 5): `refuse`, or `ignore` and take them as they are."""
    frame_rate: str | None = None
    """Of numbered images and raw streams, such as `24000/1001`; None = 25, or what the stream says."""
    container: str | None = None
    """Of the output, such as `nut` or `y4m`; None = what the suffix says, and Matroska for standard output."""
    deinterlace: str = "auto"
    """`auto`, `off`, `bwdif` or `yadif`."""
    colour: str = "auto"
    """How untagged or wrongly tagged pixels are read, such as `bt709`."""
    scene_detect: str = "auto"
    """Where shots begin, which are restored apart: `auto`, `off`, or a text file with one frame number on a line."""
    scene_threshold: float = DEFAULT_THRESHOLD
    """Of `auto`: share of a frame's contrast that the frame before must leave unexplained at a cut."""
    verify: bool = True
    """Hold the finished file against the source before it gets its name."""
    resume: bool = True
    """Go on where an interrupted run of the same settings ended; False begins anew."""
    keep_partial: bool = False
    """When the run is interrupted, leave what is done so far as a playable file beside the target."""
    segment_frames: int = SEGMENT_FRAMES
    """Frames in each closed piece that a crash leaves; 0 = one piece, of which a crash leaves nothing."""

    @property
    def reading(self) -> dict[str, Any]:
        """Options of `VideoReader`."""
        return {
            "start_seconds": self.start_seconds,
            "end_seconds": self.end_seconds,
            "on_error": self.on_error,
            "stream": self.stream,
            "dolby_vision": self.dolby_vision,
            "frame_rate": None if self.frame_rate is None else parse_frame_rate(self.frame_rate),
            "deinterlace": self.deinterlace,
            "colour": self.colour,
        }

    def output_size(self, info: VideoInfo) -> tuple[int, int]:
        """(height, width) of what a film becomes. Raises OptionError."""
        return output_size(info.height, info.width, scale=self.scale, size=self.size, aspect=info.sample_aspect_ratio)

    def plan(
        self, target: str | Path, info: VideoInfo, *, source: VideoReader | None = None, side: SidePackets | None = None
    ) -> OutputPlan:
        """What a film becomes; source and side as for `plan_output`. Raises OptionError."""
        return plan_output(
            target,
            like=info,
            size=self.output_size(info),
            encoder=self.encoder,
            audio=self.audio,
            container=self.container,
            source=source,
            side=side,
            in_segments=self.segment_frames > 0,
        )

    def __post_init__(self) -> None:
        if self.segment_frames < 0:
            raise OptionError(f"segment_frames must be at least 0, got {self.segment_frames}")
        check_threshold(self.scene_threshold)
        if is_cut_list(self.scene_detect) and self.start_seconds:
            raise OptionError(
                f"the cuts in {self.scene_detect} count from the first frame of the video; "
                f"they cannot be used with a start at {self.start_seconds} s"
            )
        if self.scale not in (1, 2, 4):
            raise OptionError(f"scale must be 4, 2 or 1, got {self.scale}")
        check_size(self.size)
        check_strength(self.strength)
        check_source_look(self.source_look)
        if self.frame_rate is not None:
            parse_frame_rate(self.frame_rate)
        if self.container is not None:
            named_container(self.container)


def stored_settings(stored: Mapping[str, Any], **changes: Any) -> RestoreSettings:
    """Settings from what `asdict` made of them. Raises TypeError, KeyError or OptionError where they cannot be."""
    return RestoreSettings(**{**stored, "encoder": EncoderOptions(**stored["encoder"]), **changes})


def deciding_options(settings: RestoreSettings) -> dict[str, Any]:
    """What of the settings decides over the frames of an output, a list of cuts by its digest too."""
    options = {name: value for name, value in asdict(settings).items() if name not in _WITHOUT_EFFECT_ON_FRAMES}
    if is_cut_list(settings.scene_detect):
        options["scene_cuts_sha256"] = hashlib.sha256(read_text(Path(settings.scene_detect)).encode()).hexdigest()
    return options
