"""Everything that can be seen of a file without restoring it, and what a target container would lose of it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av

from fmanet_cli.errors import OptionError
from fmanet_cli.video.frames import VideoInfo
from fmanet_cli.video.read.describe import codec_name, is_cover, stream_title
from fmanet_cli.video.read.opening import open_input
from fmanet_cli.video.read.packets import FilePackets, Span, StreamPackets, packets_of
from fmanet_cli.video.read.rational import to_fraction
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.read.sequence import is_sequence_pattern
from fmanet_cli.video.write.codecs import CODECS
from fmanet_cli.video.write.containers import CONTAINERS, IMAGE_SEQUENCE, Container, container_of
from fmanet_cli.video.write.planning import plan_output
from fmanet_cli.video.write.stream_plan import StreamPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One stream of a file."""

    index: int
    """Position in the container."""
    kind: str
    """`audio`, `subtitle`, `cover`, `attachment`, `video`, `data`, or `timing` for the tracks that MP4
    makes of chapters and time codes."""
    codec: str
    """Codec name, empty when unknown."""
    language: str = ""
    """ISO 639 code; empty when not said or undetermined."""
    title: str = ""
    """Title, or the file name of an attachment."""
    flags: tuple[str, ...] = ()
    """Dispositions such as `default` and `forced`."""
    packets: StreamPackets | None = None
    """Of streams that have packets."""
    digest: str = ""
    """SHA-256 of an attachment's or a stream's content; empty when unknown."""

    def __str__(self) -> str:
        details = ", ".join(text for text in (self.codec, self.language) if text)
        return f"{self.kind} stream {self.index}" + (f" ({details})" if details else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What restoring a file into one container would not keep."""

    container: str
    """FFmpeg's name of the container."""
    lost: tuple[str, ...] = ()
    """What would be lost or changed, one sentence each."""
    refusal: str = ""
    """Why it cannot be written there at all; empty when it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryVersions:
    """Versions of the media libraries."""

    av: str
    """Of PyAV."""
    ffmpeg: dict[str, str] = field(default_factory=dict)
    """Of FFmpeg's libraries."""


def library_versions() -> LibraryVersions:
    """What decodes and encodes here."""
    libraries = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
    return LibraryVersions(av=av.__version__, ffmpeg=libraries)


def container_of_file(info: VideoInfo) -> Container:
    """The container of an existing file, by its content and where that is ambiguous by its name.

    A format that is not among `CONTAINERS` counts as one that keeps everything.
    """
    if info.container == "image2":
        return IMAGE_SEQUENCE
    names = info.container.split(",")
    fitting = [container for container in CONTAINERS if container.name in names]
    try:
        named = container_of(Path(info.path))
    except OptionError:
        named = None
    if named in fitting:
        return named
    if fitting:
        return fitting[0]
    families = tuple(sorted({codec.family for codec in CODECS.values()}))
    return Container(
        names[0],
        (),
        families,
        aspect_families=families,
        holds_rotation=True,
        holds_chapters=True,
        holds_attachments=True,
        holds_covers=True,
        audio_codec="aac",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What one opening tells of a file beside its frames."""

    packets: FilePackets
    """Of every stream."""
    tracks: tuple[Track, ...]
    """Every stream, the main video too."""
    sound_starts: Mapping[int, Fraction] = field(default_factory=dict)
    """By index of sound that the plan converts: when decoding gives its first samples, in seconds."""


def inspect(info: VideoInfo, *, span: Span | None = None, plan: StreamPlan | None = None) -> Inspection:
    """Read every packet of a file.

    Args:
        info: facts of the video, as a reader gives them.
        span: part of the other streams that counts.
        plan: what becomes of its streams.
    """
    with open_input(info.path) as container:
        packets = packets_of(container, video_index=info.stream_index, span=span)
        return Inspection(
            packets=packets,
            tracks=_tracks(container, info, packets),
            sound_starts=_sound_starts(plan or StreamPlan(), packets),
        )


def tracks_of(info: VideoInfo) -> tuple[Track, ...]:
    """Every stream of a file, the main video too, without reading its packets; none for image sequences."""
    if info.container == "image2":
        return ()
    with open_input(info.path) as container:
        return _tracks(container, info, FilePackets({}))


def _tracks(container: av.container.InputContainer, info: VideoInfo, packets: FilePackets) -> tuple[Track, ...]:
    has_chapter_track = "mov" in info.container.split(",") and bool(info.chapters)
    return tuple(
        _track(stream, packets.streams.get(stream.index), has_chapter_track=has_chapter_track)
        for stream in container.streams
    )


def _sound_starts(plan: StreamPlan, packets: FilePackets) -> dict[int, Fraction]:
    """When converted sound is first heard; some decoders give nothing for the first packets."""
    starts = {}
    for planned in plan.streams:
        if planned.how == "audio" and (start := _first_heard(packets.first_in_span.get(planned.index, []))) is not None:
            starts[planned.index] = start
    return starts


def _first_heard(packets: Iterable[av.Packet]) -> Fraction | None:
    with contextlib.suppress(av.error.FFmpegError):
        for packet in packets:
            for frame in cast(Any, packet.decode()):
                base = to_fraction(frame.time_base)
                return None if frame.pts is None or base is None else frame.pts * base
    return None


def find_losses(reader: VideoReader, container: Container, *, scale: int, audio: str = "copy") -> Losses:
    """What the writer warns of before it writes `reader`'s video into a container; nothing is written.

    Raises OptionError for an unknown way with sound.
    """
    name = "frame_%05d.png" if container is IMAGE_SEQUENCE else f"probe{container.suffixes[0]}"
    try:
        plan = plan_output(name, like=reader.info, scale=scale, audio=audio, source=reader)
    except OptionError as error:
        return Losses(container=container.name, refusal=str(error))
    return Losses(container=container.name, lost=(*reader.warnings, *plan.losses))


def target_container(target: str | None, path: str) -> Container:
    """The container of a short name such as `mkv` or `png`, by default that of a source's suffix, else Matroska.

    Raises OptionError for a name that is not known.
    """
    named = Path(path) if target is None else Path(f"x.{target.lower().lstrip('.')}")
    if named.suffix.lower() == ".png" and (target is not None or is_sequence_pattern(path)):
        return IMAGE_SEQUENCE
    for container in CONTAINERS:
        if named.suffix.lower() in container.suffixes or (target or "").lower() == container.name:
            return container
    if target is None:
        return container_of(Path("x.mkv"))
    known = ", ".join(suffix[1:] for container in CONTAINERS for suffix in container.suffixes)
    raise OptionError(f"target {target!r} is not known; use one of {known}, png")


def _track(stream: Any, packets: StreamPackets | None, *, has_chapter_track: bool) -> Track:
    digest = packets.digest if packets is not None else ""
    if stream.type == "attachment":
        digest = hashlib.sha256(bytes(stream.data or b"")).hexdigest()
    language = stream.metadata.get("language", "")
    codec = codec_name(stream) or getattr(stream, "name", None) or ""
    kind = "cover" if is_cover(stream) else stream.type or "data"
    if kind == "data" and ("timecode" in stream.metadata or (has_chapter_track and codec == "bin_data")):
        kind = "timing"
    return Track(
        index=stream.index,
        kind=kind,
        codec=codec,
        language="" if language == "und" else language,
        title=stream_title(stream),
        flags=tuple(flag.name or "" for flag in av.stream.Disposition if stream.disposition & flag),
        packets=packets,
        digest=digest,
    )
