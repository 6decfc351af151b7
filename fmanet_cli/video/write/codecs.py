"""Video encoders: what can be requested of each, and the settings that follow for one output."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, cast

import av

from fmanet_cli.errors import OptionError, did_you_mean
from fmanet_cli.video.frames import HdrMetadata
from fmanet_cli.video.pixels.colour import Colour
from fmanet_cli.video.pixels.formats import pixel_layout
from fmanet_cli.video.write.encoder_words import check_words


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """What the user asks of the encoder; None leaves the choice to the table of encoders."""

    codec: str | None = None
    """One of `CODECS` or of their short names; None = what suits the container, libx264 mostly."""
    crf: float | None = None
    """Constant quality on the encoder's own scale, smaller is better (NVENC: `cq`)."""
    preset: str | None = None
    """Speed against size, in the encoder's own words (ProRes: the profile)."""
    pix_fmt: str | None = None
    """Pixel format; None = the source's bit depth as far as the encoder goes."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """More options of the encoder, such as `{"tune": "film"}`."""


@dataclass(frozen=True, slots=True)
class HdrOption:
    """How an encoder takes static HDR metadata: as parameters inside one option of its own."""

    option: str
    """Name of the option."""
    mastering_display: str
    """Name of the parameter for the mastering display."""
    content_light: str
    """Name of the parameter for the content light levels."""
    in_integers: bool = True
    """Whether chromaticities count in 1/50000 and luminances in 1/10000 cd/m2; else both are decimal."""
    beside: tuple[str, ...] = ()
    """Parameters that have to go with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """One encoder."""

    name: str
    """FFmpeg's name of the encoder."""
    short_names: tuple[str, ...] = ()
    """Other names that mean it."""
    family: str
    """What it makes, by the name that a reader finds in the file, such as `hevc`: outputs are verified by it."""
    segments_in: str | None
    """FFmpeg's name of a container that holds its video with all that a final container needs. A run keeps closed
    pieces in it and goes on from them after a crash. None = no pieces: raw video would fill the disk."""
    quality_option: str = ""
    """Name of its constant-quality option; empty when it has none."""
    quality_range: tuple[int, int] = (0, 51)
    """Smallest and largest quality value."""
    default_quality: float | None = None
    """Used when nothing is requested."""
    preset_option: str = ""
    """Name of its speed option; empty when it has none."""
    default_preset: str = ""
    """Used when nothing is requested."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options that are always set unless the user sets them."""
    pixel_formats: tuple[str, ...] = ("yuv420p", "yuv420p10le")
    """Defaults by rising bit depth."""
    takes_odd_subsampled_sizes: bool = True
    """Whether 4:2:0 works with odd sizes."""
    hdr: HdrOption | None = None
    """How it takes static HDR metadata; None = it cannot."""
    carries_captions: bool = False
    """Whether it writes the closed captions that frames carry."""
    stereo_option: str = ""
    """The option that takes the stereo mark of the frames as `frame-packing=N`; empty = it cannot write one."""
    needs_device: bool = False
    """Whether it runs on a graphics card only."""
    largest_side: int | None = None
    """Most pixels of a row or column; None = no limit below that of every output."""


def _nvenc(name: str, family: str, quality: float, **differences: Any) -> Codec:
    return Codec(
        name=name,
        family=family,
        segments_in="mp4",
        quality_option="cq",
        default_quality=quality,
        preset_option="preset",
        default_preset="p5",
        options={"rc": "vbr", "b": "0", "tune": "hq"},
        needs_device=True,
        largest_side=4096 if family == "h264" else 8192,
        **differences,
    )


_ALL = (
    Codec(
        name="libx264",
        short_names=("x264", "h264"),
        family="h264",
        segments_in="mp4",
        quality_option="crf",
        default_quality=16,
        preset_option="preset",
        default_preset="fast",
        takes_odd_subsampled_sizes=False,
        hdr=HdrOption("x264-params", "mastering-display", "cll"),
        carries_captions=True,
        stereo_option="x264-params",
    ),
    Codec(
        name="libx265",
        short_names=("x265", "h265", "hevc"),
        family="hevc",
        segments_in="mp4",
        quality_option="crf",
        default_quality=18,
        preset_option="preset",
        default_preset="fast",
        options={"x265-params": "log-level=none", "a53cc": "1"},
        pixel_formats=("yuv420p", "yuv420p10le", "yuv420p12le"),
        takes_odd_subsampled_sizes=False,
        hdr=HdrOption("x265-params", "master-display", "max-cll", beside=("hdr10=1", "repeat-headers=1")),
        carries_captions=True,
    ),
    Codec(
        name="libsvtav1",
        short_names=("svtav1", "svt-av1", "av1"),
        family="av1",
        segments_in="mp4",
        quality_option="crf",
        quality_range=(1, 63),
        default_quality=20,
        preset_option="preset",
        default_preset="8",
        takes_odd_subsampled_sizes=False,
        hdr=HdrOption("svtav1-params", "mastering-display", "content-light", in_integers=False),
    ),
    Codec(
        name="libvpx-vp9",
        short_names=("vp9",),
        family="vp9",
        segments_in="mp4",
        quality_option="crf",
        quality_range=(0, 63),
        default_quality=18,
        preset_option="cpu-used",
        default_preset="4",
        options={"b": "0", "deadline": "good", "row-mt": "1"},
        pixel_formats=("yuv420p",),
    ),
    Codec(
        name="prores_ks",
        short_names=("prores",),
        family="prores",
        segments_in="mov",
        preset_option="profile",
        default_preset="hq",
        pixel_formats=("yuv422p10le",),
    ),
    Codec(
        name="ffv1",
        family="ffv1",
        segments_in="matroska",
        options={"level": "3", "slices": "4", "slicecrc": "1"},
        pixel_formats=("yuv444p", "yuv444p10le", "yuv444p12le", "yuv444p16le"),
    ),
    _nvenc("h264_nvenc", "h264", 16, pixel_formats=("yuv420p",)),
    _nvenc("hevc_nvenc", "hevc", 18, pixel_formats=("yuv420p", "p010le")),
    _nvenc("av1_nvenc", "av1", 22, quality_range=(0, 63), pixel_formats=("yuv420p", "p010le")),
    Codec(name="rawvideo", short_names=("raw",), family="rawvideo", segments_in=None),
)

CODECS = {codec.name: codec for codec in _ALL}
"""Encoder name -> encoder. "Adding a codec" in CONTRIBUTING.md says what a new one needs."""

_FOLLOWS_SOURCE = {
    "aspect", "chroma_sample_location", "color_primaries", "color_range", "color_trc", "colorspace", "framerate",
    "pix_fmt", "pixel_format", "s", "sample_aspect_ratio", "time_base", "video_size",
}  # fmt: skip
"""Options of encoders that would contradict the pixels, times or tags that are written."""

_FRAME_PACKINGS = {
    "checkerboard": 0, "interleaved columns": 1, "interleaved lines": 2, "side by side": 3, "top and bottom": 4,
    "frame alternate": 5,
}  # fmt: skip
"""H.264's numbers of stereo marks."""

_SHORT_NAMES = {short: codec.name for codec in _ALL for short in codec.short_names}


@dataclass(frozen=True, slots=True)
class VideoSettings:
    """Everything an output video stream is opened with."""

    codec: Codec
    """The encoder."""
    options: dict[str, str]
    """Options as the encoder takes them."""
    height: int
    """In pixels."""
    width: int
    """In pixels."""
    pix_fmt: str
    """Pixel format."""
    colour: Colour
    """Used for the pixels and written as tags."""
    time_base: Fraction
    """Of timestamps that go into the encoder."""
    frame_rate: Fraction
    """Usual frame rate."""
    sample_aspect_ratio: Fraction = Fraction(1)
    """Width / height of a pixel as shown."""
    requested: EncoderOptions = field(default_factory=EncoderOptions)
    """What the user chose of this, for messages."""


def find_codec(name: str) -> Codec:
    """The encoder of a full or short name. Raises OptionError when it is not known or not built in."""
    codec = CODECS.get(_SHORT_NAMES.get(name.lower(), name.lower()))
    if codec is None:
        known = [*CODECS, *_SHORT_NAMES]
        hint = did_you_mean(name.lower(), known)
        raise OptionError(f"codec {name!r} is not known; use one of {', '.join(known)}.{hint}")
    try:
        av.codec.Codec(codec.name, "w")
    except (ValueError, av.error.FFmpegError) as error:
        raise OptionError(f"codec {codec.name} is not in this build of PyAV; use another one") from error
    return codec


def takes_stereo(codec: Codec, stereo: str) -> bool:
    """Whether an encoder can write this stereo mark into its frames."""
    return bool(codec.stereo_option) and stereo in _FRAME_PACKINGS


def encoder_settings_options(
    codec: Codec, requested: EncoderOptions, hdr: HdrMetadata | None, stereo: str = ""
) -> dict[str, str]:
    """Options for the encoder: defaults, what is requested, static HDR metadata, and a stereo mark that it takes.

    Raises OptionError for a quality or preset that the encoder does not have.
    """
    options = dict(codec.options)
    if requested.crf is not None and not codec.quality_option:
        raise OptionError(f"{codec.name} has no constant quality; leave out crf={requested.crf:g}")
    if codec.quality_option:
        quality = codec.default_quality if requested.crf is None else requested.crf
        low, high = codec.quality_range
        if quality is None or not low <= quality <= high:
            raise OptionError(f"{codec.name} takes a quality from {low} to {high}, got crf={quality:g}")
        options[codec.quality_option] = f"{quality:g}"
    if requested.preset == "":
        raise OptionError(f"the preset of {codec.name} must not be empty; leave it out for {codec.default_preset!r}")
    if requested.preset is not None and not codec.preset_option:
        raise OptionError(f"{codec.name} has no preset; leave out preset={requested.preset!r}")
    if codec.preset_option:
        options[codec.preset_option] = codec.default_preset if requested.preset is None else requested.preset
    parameters = {} if codec.hdr is None or hdr is None else _hdr_parameters(codec.hdr, hdr)
    for key, value in requested.extra.items():
        _refuse_own(codec, key, value)
        options[key] = f"{options[key]}:{value}" if key in options and key.endswith("-params") else value
    if takes_stereo(codec, stereo):
        text = f"frame-packing={_FRAME_PACKINGS[stereo]}"
        parameters[codec.stereo_option] = ":".join(filter(None, [parameters.get(codec.stereo_option), text]))
    for key, value in parameters.items():
        options[key] = f"{options[key]}:{value}" if key in options else value
    check_words(codec.name, options, {codec.preset_option: "preset"})
    if codec.name == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "0")
    return options


def _refuse_own(codec: Codec, key: str, value: str) -> None:
    """Raise OptionError for an option that is decided elsewhere, so that one choice never beats another unsaid."""
    own = {codec.quality_option: "crf", codec.preset_option: "preset"}
    inside = [part.partition("=")[0] for part in value.split(":")] if key.endswith("-params") else []
    for name in (key, *inside):
        if name and name in own:
            raise OptionError(f"option {name} of {codec.name} is set by {own[name]}, got {key}={value}; use that alone")
    if key in _FOLLOWS_SOURCE:
        raise OptionError(f"option {key} follows the source and cannot be set, got {key}={value}; leave it out")


def choose_pixel_format(codec: Codec, requested: str | None, *, bit_depth: int, height: int, width: int) -> str:
    """The requested pixel format if the encoder takes it, else its default for a bit depth.

    Raises OptionError for a format the encoder does not take at this size.
    """
    odd = height % 2 or width % 2
    available = [pixel_format.name for pixel_format in av.codec.Codec(codec.name, "w").video_formats or ()]
    if requested is None:
        chosen = next((f for f in codec.pixel_formats if pixel_layout(f).bits >= bit_depth), codec.pixel_formats[-1])
        whole = chosen.replace("420", "444")
        return whole if odd and not codec.takes_odd_subsampled_sizes and whole in available else chosen
    if available and requested not in available:
        raise OptionError(f"{codec.name} does not take pixel format {requested!r}; it takes {', '.join(available)}")
    if odd and "420" in requested and not codec.takes_odd_subsampled_sizes:
        raise OptionError(f"{codec.name} cannot encode {width}x{height} as {requested}; use yuv444p or an even size")
    return requested


def add_video_stream(container: av.container.OutputContainer, settings: VideoSettings) -> av.VideoStream:
    """Add the video stream to an output that is not started yet."""
    added = container.add_stream(settings.codec.name, rate=settings.frame_rate, options=dict(settings.options))
    stream = cast(av.VideoStream, added)
    stream.height, stream.width, stream.pix_fmt = settings.height, settings.width, settings.pix_fmt
    context = stream.codec_context
    context.time_base = settings.time_base
    context.flags |= int(av.codec.context.Flags.frame_duration)
    _tag(stream, settings, container.format.name)
    return stream


def add_encoded_stream(
    container: av.container.OutputContainer, settings: VideoSettings, encoded: av.VideoStream
) -> av.VideoStream:
    """Add a video stream for packets that were encoded before with the same settings; `encoded` is one of theirs."""
    stream = container.add_stream_from_template(encoded, opaque=True)
    stream.time_base = settings.time_base
    stream.codec_context.framerate = settings.frame_rate
    _tag(stream, settings, container.format.name)
    return stream


def _tag(stream: av.VideoStream, settings: VideoSettings, container_name: str) -> None:
    context = stream.codec_context
    context.colorspace, context.color_range = settings.colour.matrix, 2 if settings.colour.full_range else 1
    context.color_primaries, context.color_trc = settings.colour.primaries, settings.colour.transfer
    if settings.sample_aspect_ratio != 1:
        context.sample_aspect_ratio = settings.sample_aspect_ratio
    if settings.codec.family == "hevc" and container_name in ("mp4", "mov"):
        context.codec_tag = "hvc1"


def _hdr_parameters(target: HdrOption, hdr: HdrMetadata) -> dict[str, str]:
    parameters = []
    if hdr.primaries is not None and hdr.luminance is not None:
        text = _mastering_text(hdr.primaries, hdr.luminance, in_integers=target.in_integers)
        parameters.append(f"{target.mastering_display}={text}")
    if hdr.content_light is not None:
        parameters.append(f"{target.content_light}={hdr.content_light[0]},{hdr.content_light[1]}")
    return {target.option: ":".join([*target.beside, *parameters])} if parameters else {}


def _mastering_text(primaries: tuple[Fraction, ...], luminance: tuple[Fraction, Fraction], *, in_integers: bool) -> str:
    points = [f"{round(p * 50000)}" if in_integers else f"{float(p):.5f}" for p in primaries]
    dark, bright = (f"{round(light * 10000)}" if in_integers else f"{float(light):.4f}" for light in luminance)
    red, green, blue, white = (f"({points[k]},{points[k + 1]})" for k in (0, 2, 4, 6))
    return f"G{green}B{blue}R{red}WP{white}L({bright},{dark})"
