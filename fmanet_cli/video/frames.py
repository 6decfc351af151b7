"""The nouns that travel between reader, engine and writer: a frame and the facts of the video it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np

from fmanet_cli.video.pixels.colour import UNSPECIFIED, Colour, Planes

CAPTIONS = "closed captions"
"""Their name in warnings and tables."""

DisplayMatrix = tuple[int, int, int, int, int, int, int, int, int]
"""Nine fixed-point numbers as in MP4 (16.16, the third column 2.30)."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image and when it is shown."""

    image: np.ndarray
    """(H, W, 3) float32, RGB, [0, 1], gamma-coded as in the file."""
    pts: int
    """Presentation timestamp in units of `time_base`."""
    time_base: Fraction
    """Seconds per tick."""
    duration: int = 0
    """How long it is shown, in ticks of `time_base`; 0 = unknown."""
    starts_shot: bool = False
    """Whether a cut lies before it, so that nothing may be mixed with the frames before."""
    captioned: av.VideoFrame | None = None
    """The decoded frame, where it carries closed captions, for an encoder that writes them; None = none."""

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.float32:
            raise ValueError(f"image must be (H, W, 3) float32, got {self.image.shape} {self.image.dtype}")
        if self.duration < 0:
            raise ValueError(f"duration must not be negative, got {self.duration}")

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"Frame({height}x{width}, pts={self.pts}, time_base={self.time_base}, duration={self.duration})"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.image.shape[:2]
        return height, width

    @property
    def seconds(self) -> float:
        """The presentation timestamp in seconds."""
        return float(self.pts * self.time_base)


@dataclass(frozen=True, slots=True, eq=False)
class PlanarFrame:
    """One image as an encoder takes it, and when it is shown."""

    planes: Planes
    """Luma, Cb and Cr codes."""
    pts: int
    """Presentation timestamp in units of `time_base`."""
    time_base: Fraction
    """Seconds per tick."""
    duration: int = 0
    """How long it is shown, in ticks of `time_base`; 0 = unknown."""
    captioned: av.VideoFrame | None = None
    """As of `Frame`."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.planes[0].shape
        return height, width


@dataclass(frozen=True, slots=True)
class HdrMetadata:
    """Static HDR10 metadata (SMPTE ST 2086 and CTA-861.3)."""

    primaries: tuple[Fraction, ...] | None = None
    """Red x, y, green x, y, blue x, y, white x, y of the mastering display; None = not said."""
    luminance: tuple[Fraction, Fraction] | None = None
    """Smallest and largest luminance of the mastering display in candela per square metre; None = not said."""
    content_light: tuple[int, int] | None = None
    """Largest content light level and largest frame-average light level; None = not said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedColour:
    """The colour tags that a file really carries, in the codes of ITU-T H.273; None where it says nothing."""

    matrix: int | None = None
    """Matrix coefficients."""
    full_range: bool | None = None
    """Whether black is code 0."""
    primaries: int | None = None
    """Colour primaries."""
    transfer: int | None = None
    """Transfer characteristics."""


NOT_SAID = "not said"


def colour_words(colour: Colour | StatedColour) -> dict[str, str]:
    """What is said of colours, for people: the range in words, all else as its code, or `NOT_SAID`."""

    def code(number: int | None) -> str:
        return NOT_SAID if number in (None, 0, UNSPECIFIED) else str(number)

    return {
        "colour matrix": code(colour.matrix),
        "colour range": {None: NOT_SAID, True: "full", False: "limited"}[colour.full_range],
        "colour primaries": code(colour.primaries),
        "colour transfer": code(colour.transfer),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """Rows and columns at the edges of the coded image that are not shown."""

    top: int = 0
    """Rows."""
    bottom: int = 0
    """Rows."""
    left: int = 0
    """Columns."""
    right: int = 0
    """Columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoMarks:
    """What a video stream says beside its pixels and colours."""

    captions: bool = False
    """Closed captions (CTA-708, ATSC A/53) inside the frames."""
    hdr10_plus: bool = False
    """Dynamic HDR metadata of HDR10+ or HDR Vivid."""
    dolby_vision: str = ""
    """Profile and compatibility such as `8.4`; `unknown` where only the frames carry it; empty = none."""
    spherical: str = ""
    """Projection of a 360 degree video such as `equirectangular`; empty = none."""
    mapping: tuple[int, ...] = ()
    """Of a 360 degree video, as FFmpeg counts: number of the projection, yaw, pitch and roll in 1/65536 degree, left,
    top, right and bottom bound in 1/2^32 of the sphere, padding in pixels; empty = not known."""
    stereo: str = ""
    """How two views lie in an image, such as `side by side`; empty = one view."""

    def named(self) -> dict[str, str]:
        """What there is: name -> value, in the words of warnings and tables."""
        captions, dynamic = ("there" if known else "" for known in (self.captions, self.hdr10_plus))
        marks = {
            CAPTIONS: captions,
            "HDR10+ metadata": dynamic,
            "Dolby Vision metadata": self.dolby_vision and f"profile {self.dolby_vision}",
            "360 degree marks": self.spherical,
            "stereo marks": self.stereo,
        }
        return {name: value for name, value in marks.items() if value}

    def losses(self, carried: VideoMarks) -> list[str]:
        """One sentence for each that is not among what an output carries."""
        kept = carried.named()
        return [
            f"{name} are lost" if value == "there" else f"{name} are lost: {value}"
            for name, value in self.named().items()
            if kept.get(name) != value
        ]


NO_MARKS = VideoMarks()
"""Of a plain recording."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What the container says of one stream."""

    index: int
    """Position in the container."""
    kind: str
    """`video`, `audio`, `subtitle`, `attachment` or `data`."""
    codec: str
    """Codec name, empty when unknown."""
    language: str = ""
    """ISO 639 code, empty when not said."""
    title: str = ""
    """Title, or the file name of an attachment."""
    is_cover: bool = False
    """Whether a video stream is a still image attached to the file."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """A named span of time."""

    identifier: int
    """As in the container."""
    start_seconds: Fraction
    """In the container's time."""
    end_seconds: Fraction
    """In the container's time."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Tags, `title` above all."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Everything of a video that a restored copy has to keep."""

    path: str
    """Path, image sequence pattern, or `-` for standard input."""
    height: int
    """Of the coded image, before rotation, in pixels."""
    width: int
    """Of the coded image, before rotation, in pixels."""
    time_base: Fraction
    """Seconds per tick of every timestamp of the video stream."""
    frame_rate: Fraction
    """Usual frame rate in frames a second; 25 where the file does not say."""
    colour: Colour
    """Of the pixels as decoded; for RGB sources what they are encoded to."""
    bit_depth: int = 8
    """Of the deepest colour component."""
    pixel_format: str = "yuv420p"
    """FFmpeg's name."""
    horizontal_shift: int = 1
    """log2 of luma width / chroma width; 0 for RGB and grey."""
    vertical_shift: int = 1
    """log2 of luma height / chroma height; 0 for RGB and grey."""
    codec: str = ""
    """Of the video stream."""
    container: str = ""
    """FFmpeg's name of the container format."""
    sample_aspect_ratio: Fraction = Fraction(1)
    """Width / height of a pixel as shown."""
    display_matrix: DisplayMatrix | None = None
    """Rotation and flips applied on display; None = shown as coded."""
    interlaced: bool = False
    """Whether the frames that the reader gives are woven from two fields."""
    hdr: HdrMetadata | None = None
    """Static HDR metadata."""
    frame_count: int | None = None
    """Estimate of the frames that will come; None = unknown. Never exact enough to index with."""
    duration_seconds: float | None = None
    """Of the video stream or the container; None = unknown."""
    start_seconds: Fraction = Fraction(0)
    """Where the container's time starts; often not 0 in MPEG-TS."""
    trim_start_seconds: Fraction | None = None
    """Asked start, counted from `start_seconds`; None = from the first frame."""
    trim_end_seconds: Fraction | None = None
    """Asked end (not included), counted from `start_seconds`; None = to the last frame."""
    stream_index: int = 0
    """Of the video stream in the container."""
    streams: tuple[StreamInfo, ...] = ()
    """All streams of the container, the video too; empty for image sequences."""
    chapters: tuple[Chapter, ...] = ()
    """Of the container."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Tags of the container."""
    stream_metadata: dict[str, str] = field(default_factory=dict)
    """Tags of the video stream that stay true for a restored copy: language, title, handler name, time code."""
    disposition: int = 0
    """FFmpeg's flags of the video stream, such as 1 = default."""
    stated: StatedColour = StatedColour()
    """Colour tags that the file itself carries."""
    marks: VideoMarks = NO_MARKS
    """Captions, dynamic HDR, 360 degree and stereo marks."""
    crop: Crop | None = None
    """What was cut off the coded image, because the container says that it is not shown; None = nothing."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"height and width must be at least 1, got {self.height}x{self.width}")
        if self.time_base <= 0 or self.frame_rate <= 0:
            raise ValueError(f"time_base and frame_rate must be positive, got {self.time_base}, {self.frame_rate}")

    @property
    def is_pipe(self) -> bool:
        """Whether the source is standard input, which cannot be read twice."""
        return self.path == "-"
