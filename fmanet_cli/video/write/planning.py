"""The plan of an output made and rehearsed before the first frame."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from fmanet_cli.errors import OptionError
from fmanet_cli.video.frames import NO_MARKS, DisplayMatrix, VideoInfo, VideoMarks
from fmanet_cli.video.pixels.formats import pixel_layout, plane_format_of
from fmanet_cli.video.read.container import ContainerSource
from fmanet_cli.video.read.describe import codec_name, is_cover
from fmanet_cli.video.read.opening import MAX_PIXELS
from fmanet_cli.video.read.rational import to_fraction
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.read.sequence import is_sequence_pattern
from fmanet_cli.video.write.codecs import (
    Codec,
    EncoderOptions,
    VideoSettings,
    choose_pixel_format,
    encoder_settings_options,
    find_codec,
    takes_stereo,
)
from fmanet_cli.video.write.containers import IMAGE_SEQUENCE, Container, container_of, named_container
from fmanet_cli.video.write.orientation import is_right_angled, swaps_sides
from fmanet_cli.video.write.plan import OutputPlan
from fmanet_cli.video.write.projection import TEMPLATES, projection_fits, stereo_fits
from fmanet_cli.video.write.rehearsal import rehearse
from fmanet_cli.video.write.side_packets import SidePackets, opened_side_packets
from fmanet_cli.video.write.stream_plan import StreamPlan, plan_streams
from fmanet_cli.video.write.tags import kept_tags, unusual_tags

_DEFAULT_PIPE_CONTAINER = "matroska"
_PIPED_CONTAINERS = ("matroska", "webm", "nut", "mpegts", "yuv4mpegpipe")
_LIBAVFORMAT_MAJOR = av.library_versions["libavformat"][0]
_SHIFT_FREE_LIBAVFORMAT = 63
_AAC_PRIMING_SAMPLES = 1024


def plan_output(
    path: str | Path,
    *,
    like: VideoInfo,
    scale: int = 4,
    size: tuple[int, int] | None = None,
    encoder: EncoderOptions | None = None,
    audio: str = "copy",
    container: str | Container | None = None,
    source: VideoReader | None = None,
    side: SidePackets | None = None,
    rehearses: bool = True,
    in_segments: bool = True,
) -> OutputPlan:
    """Decide everything of an output, and write one frame of it into memory to see that it can be done.

    Args:
        path: a file, a pattern such as `frames/%05d.png`, or `-` for standard output; nothing is written there.
        like: the source's facts.
        scale: height and width of the frames against the source.
        size: (height, width) in pixels instead.
        encoder: what is requested of the encoder.
        audio: `copy`, `aac` or `none`.
        container: itself, FFmpeg's or a short name; None = what the suffix says, and Matroska for standard output.
        source: the reader, needed for the other streams of standard input.
        side: the source opened for its other streams; None = it is opened for as long as planning takes.
        rehearses: False = the frame is not written: the output is there already.
        in_segments: whether the video is joined from closed segments where codec and container allow it.

    Raises:
        OptionError: something cannot be honoured.
    """
    name, requested = str(path), encoder or EncoderOptions()
    height, width = size or (like.height * scale, like.width * scale)
    _check_size(height, width)
    draft = _Draft(like, height, width)
    if name != "-" and is_sequence_pattern(name):
        return draft.sequence(Path(name), requested, None if container is IMAGE_SEQUENCE else container)
    is_pipe = name == "-"
    if container is not None:
        chosen = container if isinstance(container, Container) else named_container(container)
    else:
        chosen = named_container(_DEFAULT_PIPE_CONTAINER) if is_pipe else container_of(Path(name))
    if is_pipe and chosen.name not in _PIPED_CONTAINERS:
        raise OptionError(f"{chosen.name} cannot be written to a pipe; use one of {', '.join(_PIPED_CONTAINERS)}")
    matrix = draft.bake_orientation(holds_rotation=chosen.holds_rotation, name=chosen.name)
    codec = draft.codec(requested, chosen, is_pipe=is_pipe)
    is_joined = in_segments and not is_pipe and not like.is_pipe
    marks = draft.carried_marks(codec, chosen, is_joined=is_joined)
    settings = draft.settings(requested, chosen, codec, marks)
    plan = OutputPlan(
        like=like,
        height=height,
        width=width,
        container=chosen,
        settings=settings,
        plane_format=plane_format_of(settings.pix_fmt, settings.colour) if draft.baked_matrix is None else None,
        display_matrix=matrix,
        baked_matrix=draft.baked_matrix,
        marks=marks,
        losses=tuple(draft.losses),
    )
    with opened_side_packets(like) if side is None else contextlib.nullcontext(side) as opened:
        return _with_streams(plan, chosen, audio, source, opened, rehearses=rehearses)


class _Draft:
    """What is decided step by step."""

    def __init__(self, like: VideoInfo, height: int, width: int):
        self.like, self.height, self.width = like, height, width
        self.losses: list[str] = []
        self.baked_matrix: DisplayMatrix | None = None

    def sequence(self, pattern: Path, requested: EncoderOptions, container: object) -> OutputPlan:
        """Numbered images."""
        if container is not None:
            raise OptionError(f"an image sequence has no container, got {container!r}; leave it out")
        if pattern.suffix.lower() != ".png":
            raise OptionError(f"image sequences are written as .png, got {pattern.name!r}")
        if requested != EncoderOptions():
            raise OptionError("codec, crf, preset and pix_fmt do not apply to an image sequence; leave them out")
        self.losses.extend(self.like.marks.losses(NO_MARKS))
        self.bake_orientation(holds_rotation=False, name="an image sequence")
        if len(self.like.streams) > 1:
            self.losses.append("sound and other streams are left out: an image sequence cannot hold them")
        return OutputPlan(
            like=self.like,
            height=self.height,
            width=self.width,
            container=None,
            settings=None,
            baked_matrix=self.baked_matrix,
            losses=tuple(self.losses),
        )

    def bake_orientation(self, *, holds_rotation: bool, name: str) -> DisplayMatrix | None:
        """The display matrix that the container shall carry; where it cannot, pixels are turned instead."""
        matrix = self.like.display_matrix
        if matrix is None or holds_rotation:
            return matrix
        if is_right_angled(matrix):
            self.baked_matrix = matrix
        else:
            self.losses.append(f"the rotation of the video is lost: {name} cannot hold it")
        return None

    def codec(self, requested: EncoderOptions, container: Container, *, is_pipe: bool) -> Codec:
        """The encoder."""
        codec = find_codec(
            _default_codec(requested, container, is_pipe=is_pipe) if requested.codec is None else requested.codec
        )
        if codec.family not in container.families:
            raise OptionError(
                f"{container.name} cannot hold {codec.name}; it holds {', '.join(container.families)}, and matroska all"
            )
        return codec

    def carried_marks(self, codec: Codec, container: Container, *, is_joined: bool) -> VideoMarks:
        """What of captions, 360 degree and stereo marks the output carries; the rest is noted as lost."""
        marks = self.like.marks
        # The joined stream is made from a template, which can hold marks; that of an encoder cannot.
        has_template = is_joined and container.has_timestamps and codec.segments_in in TEMPLATES
        is_spherical = has_template and container.holds_projection and projection_fits(marks.mapping)
        is_stereo = self.baked_matrix is None and (
            takes_stereo(codec, marks.stereo) or (has_template and container.holds_stereo and stereo_fits(marks.stereo))
        )
        carried = VideoMarks(
            captions=marks.captions and codec.carries_captions,
            spherical=marks.spherical if is_spherical else "",
            mapping=marks.mapping if is_spherical else (),
            stereo=marks.stereo if is_stereo else "",
        )
        self.losses.extend(marks.losses(carried))
        return carried

    def settings(
        self, requested: EncoderOptions, container: Container, codec: Codec, marks: VideoMarks
    ) -> VideoSettings:
        """How the video is encoded."""
        like = self.like
        turned = self.baked_matrix is not None and swaps_sides(self.baked_matrix)
        height, width = (self.width, self.height) if turned else (self.height, self.width)
        if codec.largest_side is not None and max(height, width) > codec.largest_side:
            raise OptionError(
                f"{codec.name} encodes at most {codec.largest_side} pixels a side, the output would be "
                f"{width}x{height}; ask for a smaller one or use another codec"
            )
        pix_fmt = choose_pixel_format(codec, requested.pix_fmt, bit_depth=like.bit_depth, height=height, width=width)
        layout = pixel_layout(pix_fmt)
        if requested.pix_fmt is None and layout.bits < min(like.bit_depth, 10):
            self.losses.append(f"{like.bit_depth} bits become {layout.bits}: {codec.name} has no more here")
        aspect = like.sample_aspect_ratio * Fraction(like.width * self.height, self.width * like.height)
        if turned:
            aspect = 1 / aspect
        if aspect != 1 and codec.family not in container.aspect_families:
            self.losses.append(f"the pixel shape {aspect} is lost: {container.name} does not keep it for {codec.name}")
        is_untagged = codec.family in container.untagged_families
        if is_untagged or (not container.holds_colour_tags and codec.family != "h264"):
            self.losses.append(f"the colour tags are lost: {container.name} cannot hold them")
        if not container.holds_metadata and (tags := kept_tags(like)):
            self.losses.append(f"{len(tags)} tags of the file are lost: {container.name} cannot hold them")
        if like.chapters and not container.holds_chapters:
            self.losses.append(f"{len(like.chapters)} chapters are lost: {container.name} cannot hold them")
        if like.hdr is not None and codec.hdr is None:
            self.losses.append(f"the HDR mastering metadata is lost: {codec.name} does not take it")
        return VideoSettings(
            codec=codec,
            options=dict(container.encoder_options)
            | encoder_settings_options(codec, requested, like.hdr, marks.stereo),
            height=height,
            width=width,
            pix_fmt=pix_fmt,
            colour=replace(like.colour, chroma_location="left"),
            time_base=like.time_base if container.has_timestamps else 1 / like.frame_rate,
            frame_rate=like.frame_rate,
            sample_aspect_ratio=aspect.limit_denominator(65535),
            requested=requested,
        )


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise OptionError(f"the output size must be at least 1x1, got {width}x{height}")
    if height * width > MAX_PIXELS:
        # What is read back to be verified has the same bound as every source.
        raise OptionError(f"the output would be {width}x{height}, more than {MAX_PIXELS} pixels; ask for a smaller one")


def _default_codec(requested: EncoderOptions, container: Container, *, is_pipe: bool) -> str:
    """A quality or preset that was requested is one of the usual encoder, not of a lossless one."""
    is_lossless = is_pipe and requested.crf is None and requested.preset is None and not requested.extra
    return (is_lossless and container.pipe_codec) or container.default_codec


def _with_streams(
    plan: OutputPlan,
    container: Container,
    audio: str,
    source: VideoReader | None,
    side: SidePackets | None,
    *,
    rehearses: bool,
) -> OutputPlan:
    """The plan with the other streams, after a rehearsal."""
    like, losses = plan.like, list(plan.losses)
    opened: av.container.InputContainer | None = None
    samples: dict[int, list[av.Packet]] = {}
    if like.is_pipe and source is not None and isinstance(source.source, ContainerSource):
        opened, samples = source.source.container, source.source.sample_packets()
    elif side is not None:
        opened, samples = side.container, side.samples()
    elif len(like.streams) > 1:
        losses.append("sound and other streams of standard input are not copied: no reader was given")
    streams = plan_streams(
        opened.streams if opened is not None and len(like.streams) > 1 else (),
        main_index=like.stream_index,
        container=container,
        audio=audio,
        sample_packets=samples,
    )
    plan = replace(plan, streams=streams)
    if rehearses:
        rehearse(plan, opened, samples)
    if opened is not None:
        tags = unusual_tags(like) if container.name in ("mp4", "mov") else []
        if tags and any(is_cover(opened.streams[planned.index]) for planned in streams.streams):
            losses.append(f"tags {', '.join(tags)} are lost: {container.name} has them or cover art")
        plan = replace(
            plan,
            earliest_sound_seconds=_earliest_sound(plan, opened, samples),
            # Matroska takes the priming of Opus as a delay of the codec.
            muxer_shift_seconds=_muxer_shift(
                container, like, _earliest_copied_sound(streams, opened, samples, ("opus",))
            ),
        )
    return replace(plan, losses=(*losses, *streams.warnings))


def _earliest_sound(
    plan: OutputPlan, opened: av.container.InputContainer, samples: dict[int, list[av.Packet]]
) -> Fraction:
    """When sound starts before 0, as primed AAC does; 0 when none does. A part has no packets before its start."""
    is_part = plan.like.trim_start_seconds is not None
    earliest = Fraction(0) if is_part else _earliest_copied_sound(plan.streams, opened, samples)
    for planned in plan.streams.streams:
        track: Any = opened.streams[planned.index]
        if planned.codec == "aac":
            earliest = min(earliest, Fraction(-_AAC_PRIMING_SAMPLES, track.rate))
    return earliest


def _muxer_shift(container: Container, like: VideoInfo, earliest: Fraction) -> Fraction:
    """What the Matroska muxer before FFmpeg 9 adds to all streams when sound of an MP4 starts before 0."""
    if like.trim_start_seconds is not None:
        return Fraction(0)
    moves = container.name in ("matroska", "webm") and _LIBAVFORMAT_MAJOR < _SHIFT_FREE_LIBAVFORMAT
    return Fraction(round(-earliest * 1000), 1000) if moves and "mp4" in like.container else Fraction(0)


def _earliest_copied_sound(
    plan: StreamPlan,
    opened: av.container.InputContainer,
    samples: dict[int, list[av.Packet]],
    excepted: tuple[str, ...] = (),
) -> Fraction:
    """When copied sound starts before 0, but for some codecs; 0 when none does."""
    earliest = Fraction(0)
    for planned in plan.streams:
        packets = samples.get(planned.index, [])
        source: Any = opened.streams[planned.index]
        if planned.how == "copy" and packets and source.type == "audio" and codec_name(source) not in excepted:
            base = to_fraction(packets[0].time_base)
            if packets[0].pts is not None and base is not None:
                earliest = min(earliest, packets[0].pts * base)
    return earliest
