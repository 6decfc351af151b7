"""Output containers: what each can hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fmanet_cli.errors import OptionError, did_you_mean

ALL_FLAGS = frozenset({"default", "forced", "original", "dub", "comment", "hearing_impaired", "visual_impaired"})
"""Marks of streams that are kept where the container can, in FFmpeg's words."""


@dataclass(frozen=True, slots=True)
class Container:
    """One container format and its limits."""

    name: str
    """FFmpeg's name of the muxer."""
    suffixes: tuple[str, ...]
    """File name endings that mean it."""
    families: tuple[str, ...]
    """Video that it holds, as in `Codec.family`; the first has the default encoder."""
    default_codec: str = "libx264"
    """Encoder when nothing is requested."""
    pipe_codec: str = ""
    """Lossless encoder for standard output, where another program goes on, when nothing is said; empty = as above."""
    aspect_families: tuple[str, ...] = ()
    """Video whose sample aspect ratio survives."""
    holds_rotation: bool = False
    """Whether a display matrix survives."""
    holds_projection: bool = False
    """Whether the marks of 360 degree video survive. MOV's muxer knows Apple's only, which say no direction."""
    holds_stereo: bool = False
    """Whether a stereo mark survives that is not in the frames. MP4's comes with a second one that contradicts it."""
    holds_chapters: bool = False
    """Whether chapters survive."""
    holds_attachments: bool = False
    """Whether attached files such as fonts survive."""
    holds_covers: bool = False
    """Whether cover art survives as a stream."""
    holds_colour_tags: bool = True
    """Whether matrix, range, primaries and transfer survive."""
    untagged_families: tuple[str, ...] = ()
    """Codecs of which they do not, because neither the codec nor this container says them."""
    holds_metadata: bool = True
    """Whether tags of the file survive."""
    holds_titles: bool = True
    """Whether titles of streams survive."""
    held_flags: frozenset[str] = ALL_FLAGS
    """Marks of streams that survive, in FFmpeg's words."""
    holds_last_duration: bool = True
    """Whether the file says how long the last frame is shown."""
    has_timestamps: bool = True
    """False where frames follow each other at a constant rate."""
    takes_negative_times: bool = True
    """Whether sound may start before 0, as primed AAC does."""
    copied_codecs: frozenset[str] | None = None
    """Audio and subtitles that may be copied; None = whatever the muxer takes in a rehearsal."""
    audio_codec: str = ""
    """What audio is converted to when it cannot be copied; empty = no audio."""
    text_codec: str = ""
    """What text subtitles are converted to when they cannot be copied; empty = no subtitles."""
    options: tuple[tuple[str, str], ...] = ()
    """Muxer options."""
    encoder_options: tuple[tuple[str, str], ...] = ()
    """Options of every encoder for it, unless the user sets them."""


_BITSTREAM_ASPECT = ("h264", "hevc")

CONTAINERS = (
    Container(
        "mp4",
        (".mp4", ".m4v"),
        ("h264", "hevc", "av1", "vp9", "ffv1"),
        aspect_families=("h264", "hevc", "av1", "vp9", "ffv1"),
        holds_rotation=True,
        holds_projection=True,
        holds_chapters=True,
        holds_covers=True,
        audio_codec="aac",
        text_codec="mov_text",
    ),
    Container(
        "mov",
        (".mov", ".qt"),
        ("h264", "hevc", "prores"),
        aspect_families=("h264", "hevc", "prores"),
        holds_rotation=True,
        holds_chapters=True,
        audio_codec="aac",
        text_codec="mov_text",
        held_flags=frozenset({"default"}),
    ),
    Container(
        "matroska",
        (".mkv",),
        ("h264", "hevc", "av1", "vp9", "prores", "ffv1"),
        pipe_codec="ffv1",
        aspect_families=_BITSTREAM_ASPECT,
        holds_rotation=True,
        holds_projection=True,
        holds_stereo=True,
        holds_chapters=True,
        holds_attachments=True,
        audio_codec="aac",
        text_codec="subrip",
        held_flags=ALL_FLAGS - {"dub"},
    ),
    Container(
        "webm",
        (".webm",),
        ("vp9", "av1"),
        default_codec="libvpx-vp9",
        holds_rotation=True,
        holds_projection=True,
        holds_stereo=True,
        holds_chapters=True,
        audio_codec="libopus",
        text_codec="webvtt",
        held_flags=frozenset({"default", "forced"}),
    ),
    Container(
        "mpegts",
        (".ts", ".m2ts", ".mts"),
        ("h264", "hevc"),
        aspect_families=_BITSTREAM_ASPECT,
        copied_codecs=frozenset({"aac", "ac3", "eac3", "mp2", "mp3", "opus"}),
        audio_codec="aac",
        holds_metadata=False,
        holds_titles=False,
        held_flags=frozenset({"hearing_impaired", "visual_impaired"}),
        holds_last_duration=False,
    ),
    Container(
        "nut",
        (".nut",),
        ("h264", "hevc", "av1", "vp9", "ffv1", "rawvideo"),
        pipe_codec="rawvideo",
        aspect_families=_BITSTREAM_ASPECT,
        untagged_families=("vp9", "ffv1", "rawvideo"),
        holds_chapters=True,
        audio_codec="flac",
        takes_negative_times=False,
        options=(("avoid_negative_ts", "disabled"),),
        # Reordered frames begin with decode timestamps below 0, which NUT's muxer writes as huge ones for all streams.
        encoder_options=(("bf", "0"),),
        held_flags=frozenset({"default", "original", "dub", "comment"}),
        holds_last_duration=False,
    ),
    Container(
        "yuv4mpegpipe",
        (".y4m",),
        ("rawvideo",),
        default_codec="rawvideo",
        holds_colour_tags=False,
        holds_metadata=False,
        has_timestamps=False,
        options=(("strict", "-1"),),
        holds_titles=False,
        held_flags=frozenset(),
        holds_last_duration=False,
    ),
)
"""Formats that can be written."""

_SHORT_NAMES = {"mkv": "matroska", "y4m": "yuv4mpegpipe", "ts": "mpegts", "m4v": "mp4"}

IMAGE_SEQUENCE = Container(
    "an image sequence",
    (".png",),
    (),
    holds_colour_tags=False,
    holds_metadata=False,
    holds_titles=False,
    held_flags=frozenset(),
    holds_last_duration=False,
    has_timestamps=False,
)
"""Numbered PNG files, which hold frames and nothing else."""


def container_of(path: Path) -> Container:
    """The container that a file name asks for. Raises OptionError for another suffix."""
    for container in CONTAINERS:
        if path.suffix.lower() in container.suffixes:
            return container
    known = " ".join(suffix for container in CONTAINERS for suffix in container.suffixes)
    raise OptionError(
        f"{path.name!r} has no suffix of a video container; use one of {known} or a pattern like %05d.png"
    )


def named_container(name: str) -> Container:
    """The container of a short or FFmpeg name. Raises OptionError when it is not known."""
    wanted = _SHORT_NAMES.get(name.lower(), name.lower())
    for container in CONTAINERS:
        if container.name == wanted:
            return container
    known = [container.name for container in CONTAINERS]
    hint = did_you_mean(wanted, [*known, *_SHORT_NAMES])
    raise OptionError(f"container {name!r} is not known; use one of {', '.join(known)}.{hint}")
