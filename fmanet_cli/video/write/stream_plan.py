"""Which other streams of a source go into an output, and how."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from fmanet_cli.errors import OptionError
from fmanet_cli.video.read.describe import codec_name, is_cover, kept_marks, stream_title
from fmanet_cli.video.write.containers import ALL_FLAGS, Container
from fmanet_cli.video.write.tags import stream_tags

TEXT_TIME_BASE = Fraction(1, 1000)
"""Of subtitles that are converted, in seconds."""

AUDIO_MODES = ("copy", "aac", "none")
"""Copy the packets; make everything AAC; leave sound out."""

_TEXT_CODECS = {"srt", "subrip", "ass", "ssa", "mov_text", "webvtt", "text"}
_USUAL_LAYOUT = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
_IMAGE_KINDS = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png")}


@dataclass(frozen=True, slots=True)
class PlannedStream:
    """One stream of the source that goes into the output."""

    index: int
    """Of the source's stream."""
    how: str
    """`copy`, `audio` (re-encoded) or `text` (subtitles in another text codec)."""
    codec: str = ""
    """Encoder when it is not copied."""
    layout: str = ""
    """Channel layout to declare; empty = as the source."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file inside a container."""

    name: str
    """File name."""
    mime_type: str
    """Kind of the content."""
    content: bytes
    """The file itself."""


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """Everything beside the main video that goes into the output."""

    streams: tuple[PlannedStream, ...] = ()
    """In the order of the source."""
    attachments: tuple[Attachment, ...] = ()
    """Fonts, covers and the like."""
    warnings: tuple[str, ...] = ()
    """What is lost or changed, one sentence each."""
    leaves_out_sound: bool = False
    """Whether sound was not wanted."""


def plan_streams(
    streams: Iterable[Any],
    *,
    main_index: int,
    container: Container,
    audio: str,
    sample_packets: dict[int, list[av.Packet]],
) -> StreamPlan:
    """Decide for every stream but the main video whether it is copied, converted or left out.

    sample_packets: some packets of each stream, by index; they are muxed in a rehearsal.
    """
    if audio not in AUDIO_MODES:
        raise OptionError(f"audio must be one of {', '.join(AUDIO_MODES)}, got {audio!r}")
    planned: list[PlannedStream] = []
    attachments: list[Attachment] = []
    warnings: list[str] = []
    for stream in streams:
        if stream.index == main_index or _is_chapter_or_timecode(stream):
            continue
        samples = sample_packets.get(stream.index, [])
        how: PlannedStream | Attachment | None = None
        warning = f"{describe(stream)} is left out"
        if stream.type == "attachment":
            how, warning = _plan_attachment(stream, container)
        elif is_cover(stream):
            how, warning = _plan_cover(stream, container, samples)
        elif stream.type == "audio":
            how, warning = _plan_audio(stream, container, samples, audio)
        elif stream.type == "subtitle":
            how, warning = _plan_subtitle(stream, container, samples)
        if isinstance(how, PlannedStream):
            planned.append(how)
        elif how is not None:
            attachments.append(how)
        if warning:
            warnings.append(warning)
        if isinstance(how, PlannedStream) and (marks := _lost_marks(stream, container)):
            warnings.append(f"{describe(stream)} loses its {marks}: {container.name} cannot hold them")
    return StreamPlan(tuple(planned), tuple(attachments), tuple(warnings), leaves_out_sound=audio == "none")


def describe(stream: Any) -> str:
    """A stream in words, such as `audio stream 1 (aac, eng)`."""
    language = stream.metadata.get("language", "")
    details = ", ".join(text for text in (codec_name(stream), language) if text and text != "und")
    return f"{stream.type or 'unknown'} stream {stream.index}" + (f" ({details})" if details else "")


def add_planned(output: av.container.OutputContainer, planned: PlannedStream, source: Any) -> Any:
    """Add one planned stream to an output that is not started yet; `source` is PyAV's stream of the source.

    Raises what PyAV raises when the stream does not fit.
    """
    if planned.how == "copy":
        new: Any = output.add_stream_from_template(source, opaque=True)
        if planned.layout:
            new.codec_context.layout = planned.layout
    elif planned.how == "audio":
        rate = 48000 if planned.codec == "libopus" else source.rate
        new = output.add_stream(planned.codec, rate=rate)
        new.layout = planned.layout or source.layout.name
    else:
        source.codec_context.open(strict=False)
        new = output.add_stream(planned.codec)
        new.codec_context.subtitle_header = source.codec_context.subtitle_header or b"[Script Info]\n"
        new.codec_context.time_base = new.time_base = TEXT_TIME_BASE
    new.metadata.update(stream_tags(kept_marks(source), output.format.name))
    new.disposition = source.disposition
    return new


def samples_for(packets: Iterable[av.Packet], new: Any) -> Iterator[av.Packet]:
    """Copies of packets for another stream, from 0 and in order; the packets themselves can still be used."""
    shift: int | None = None
    last: int | None = None
    for packet in packets:
        time = packet.dts if packet.dts is not None else packet.pts
        time = 0 if time is None else time
        if shift is None:
            shift = max(0, -time, -(packet.pts or 0))
        # Packets of one time are tried as they are: not every container takes them.
        if last is not None and (time < last or (time == last and packet.stream.type != "audio")):
            continue
        last = time
        copy = av.Packet(bytes(packet))
        copy.dts = time + shift
        copy.pts = copy.dts if packet.pts is None else packet.pts + shift
        copy.duration, copy.is_keyframe = packet.duration or 0, packet.is_keyframe
        copy.time_base = packet.time_base
        copy.stream = new
        yield copy


def _lost_marks(stream: Any, container: Container) -> str:
    """What a container does not keep of the title and flags of a stream; being the default one is no loss."""
    flags = [flag.name or "" for flag in av.stream.Disposition if stream.disposition & flag]
    lost = [flag for flag in flags if flag in ALL_FLAGS - {"default"} - container.held_flags]
    titles = ["title"] if stream_title(stream) and not container.holds_titles else []
    return ", ".join([*titles, *lost])


def _plan_attachment(stream: Any, container: Container) -> tuple[Attachment | None, str]:
    name = stream.name or f"attachment-{stream.index}"
    if not container.holds_attachments:
        return None, f"attachment {name} is left out: {container.name} cannot hold it"
    return Attachment(name, stream.mimetype or "application/octet-stream", bytes(stream.data or b"")), ""


def _plan_cover(
    stream: Any, container: Container, samples: list[av.Packet]
) -> tuple[PlannedStream | Attachment | None, str]:
    kind = _IMAGE_KINDS.get(codec_name(stream))
    if container.holds_covers:
        return PlannedStream(stream.index, "copy"), ""
    if container.holds_attachments and kind is not None and samples:
        name = stream.metadata.get("filename", f"cover.{kind[0]}")
        return Attachment(name, stream.metadata.get("mimetype", kind[1]), bytes(samples[0])), ""
    return None, f"cover art (stream {stream.index}) is left out: {container.name} cannot hold it"


def _plan_audio(
    stream: Any, container: Container, samples: list[av.Packet], audio: str
) -> tuple[PlannedStream | None, str]:
    if audio == "none":
        return None, ""
    if not container.audio_codec:
        return None, f"{describe(stream)} is left out: {container.name} holds no sound"
    if stream.codec_context is None:
        return None, f"{describe(stream)} is left out: its codec is not known here"
    layout = ""
    if "channels" in stream.layout.name:
        layout = _USUAL_LAYOUT.get(stream.codec_context.channels, "stereo")
    if audio == "aac":
        if container.name == "webm":
            raise OptionError("audio=aac does not fit into webm; use audio=copy or another container")
        return PlannedStream(stream.index, "audio", codec="aac", layout=layout), ""
    copied = PlannedStream(stream.index, "copy", layout=layout)
    if _fits(copied, stream, container, samples):
        return copied, ""
    codec = container.audio_codec
    warning = f"{describe(stream)} becomes {codec}: {container.name} cannot hold it as it is"
    return PlannedStream(stream.index, "audio", codec=codec, layout=layout), warning


def _plan_subtitle(stream: Any, container: Container, samples: list[av.Packet]) -> tuple[PlannedStream | None, str]:
    name = codec_name(stream)
    if name == "text" and stream.container.format.name == "flv":
        return None, f"{describe(stream)} is left out: FLV keeps the data of scripts there, not subtitles"
    if container.text_codec and _fits(PlannedStream(stream.index, "copy"), stream, container, samples):
        return PlannedStream(stream.index, "copy"), ""
    if not container.text_codec or name not in _TEXT_CODECS:
        return None, f"{describe(stream)} is left out: {container.name} cannot hold it"
    converted = PlannedStream(stream.index, "text", codec=container.text_codec)
    if name in ("ass", "ssa"):
        return converted, f"{describe(stream)} becomes {container.text_codec} and loses its styles and positions"
    return converted, ""


def _fits(planned: PlannedStream, stream: Any, container: Container, samples: list[av.Packet]) -> bool:
    """Whether a stream can be copied, found by writing its first packets into memory."""
    if container.copied_codecs is not None and codec_name(stream) not in container.copied_codecs:
        return False
    try:
        with av.open(io.BytesIO(), "w", format=container.name) as output:
            new = add_planned(output, planned, stream)
            output.start_encoding()
            for packet in samples_for(samples, new):
                output.mux(packet)
    except (ValueError, av.error.FFmpegError):
        return False
    return True


def _is_chapter_or_timecode(stream: Any) -> bool:
    """Chapters are copied as chapters, and a time code as a tag of the video; their tracks are made anew."""
    if stream.type != "data":
        return False
    if "timecode" in stream.metadata or codec_name(stream) == "tmcd":
        return True
    return codec_name(stream) in ("bin_data", "") and bool(stream.container.chapters())
