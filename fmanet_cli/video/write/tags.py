"""Tags, chapters and muxer options of an output, from the facts of its source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from fmanet_cli.video.frames import VideoInfo
from fmanet_cli.video.write.containers import Container

_OWN_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
_USUAL_MP4_TAGS = {
    "title", "artist", "album", "album_artist", "composer", "date", "comment", "copyright", "description",
    "synopsis", "genre", "show", "episode_id", "network", "lyrics", "track", "disc", "creation_time", "grouping",
}  # fmt: skip
_QUICKTIME_LANGUAGES = {
    "bod": "tib", "cym": "wel", "deu": "ger", "ell": "gre", "eus": "baq", "fas": "iri", "hye": "arm", "isl": "ice",
    "kat": "geo", "mkd": "mac", "msa": "may", "mya": "bur", "nld": "dut", "sqi": "alb", "swe": "sve", "zho": "chi",
    "fre": "fra", "cze": "ces", "rum": "ron", "slo": "slk", "per": "iri",
}  # fmt: skip
"""ISO 639-2 code -> the only one of the same language that the QuickTime muxer takes."""
_UNKNOWN_TO_BLURAY = {"aac", "opus"}
_CHAPTER_TIME_BASE = Fraction(1, 1_000_000)
_LARGEST_TIMESCALE = (1 << 31) - 1


def kept_tags(like: VideoInfo) -> dict[str, str]:
    """Tags of the file that stay true for a restored copy."""
    return {key: value for key, value in like.metadata.items() if key.lower() not in _OWN_TAGS}


def stream_tags(tags: dict[str, str], container_name: str) -> dict[str, str]:
    """Tags of a stream in the words of a container."""
    language = tags.get("language")
    if container_name == "mov" and language in _QUICKTIME_LANGUAGES:
        return tags | {"language": _QUICKTIME_LANGUAGES[language]}
    return tags


def unusual_tags(like: VideoInfo) -> list[str]:
    """Tags that MP4 keeps only in a form that excludes cover art."""
    return sorted(key for key in kept_tags(like) if key.lower() not in _USUAL_MP4_TAGS)


def shifted_chapters(like: VideoInfo, shift_seconds: Fraction) -> list[Any]:
    """Chapters as PyAV takes them, moved and cut to the requested part."""
    last = None
    if like.trim_end_seconds is not None:
        last = like.start_seconds + like.trim_end_seconds + shift_seconds
    chapters = []
    for chapter in like.chapters:
        start = max(Fraction(0), chapter.start_seconds + shift_seconds)
        end = chapter.end_seconds + shift_seconds
        end = end if last is None else min(end, last)
        if end > start:
            chapters.append(
                {
                    "id": chapter.identifier,
                    "start": round(start / _CHAPTER_TIME_BASE),
                    "end": round(end / _CHAPTER_TIME_BASE),
                    "time_base": _CHAPTER_TIME_BASE,
                    "metadata": dict(chapter.metadata),
                }
            )
    return chapters


def muxer_options(
    container: Container,
    like: VideoInfo,
    *,
    time_base: Fraction,
    sound: Sequence[tuple[str, int]],
    is_file: bool,
    has_cover: bool,
    has_projection: bool,
) -> dict[str, str]:
    """Options for the muxer. sound: codec and rate of every track. is_file: False for memory and pipes."""
    options = dict(container.options)
    if container.name == "mpegts" and any(codec in _UNKNOWN_TO_BLURAY for codec, _ in sound):
        # Blu-ray's kind of MPEG-TS, which the muxer takes for .m2ts, would mark it as private data.
        options["mpegts_m2ts_mode"] = "0"
    if container.name not in ("mp4", "mov"):
        return options
    # Moving the index to the front reads the file again, which memory does not allow.
    flags = "+faststart" if is_file else ""
    if unusual_tags(like) and not has_cover:
        flags += "+use_metadata_tags"
    if flags:
        options["movflags"] = flags
    if has_projection:
        # The muxer keeps the marks of 360 degree video to itself otherwise.
        options["strict"] = "unofficial"
    together = math.lcm(time_base.denominator, *(rate for _, rate in sound if rate))
    # Edit lists count in this unit: the default of 1 ms would round the start of the video.
    options["movie_timescale"] = str(together if together <= _LARGEST_TIMESCALE else time_base.denominator)
    return options
