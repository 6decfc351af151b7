"""What is in a video file, and what restoring it into a container would lose."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from fmanet_cli.errors import VideoReadError
from fmanet_cli.video.frames import VideoInfo
from fmanet_cli.video.inspection import (
    Losses,
    Track,
    container_of_file,
    find_losses,
    target_container,
    tracks_of,
)
from fmanet_cli.video.read.marks import check_dolby_vision
from fmanet_cli.video.read.reader import VideoReader

_SHOWN = ("index", "kind", "codec", "language", "title", "flags")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """Everything that is known of a file without decoding it whole."""

    info: VideoInfo
    """The video, its chapters and tags."""
    container: str
    """FFmpeg's name of the container as it would be written."""
    tracks: tuple[Track, ...]
    """All streams."""
    size_bytes: int | None
    """Of the file; None for pipes and image sequences."""
    warnings: tuple[str, ...]
    """What is guessed or dropped when it is read."""
    losses: Losses
    """What restoring it would not keep."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: exact fractions as text such as `1001/30000`."""
        fields = {key: _plain(value) for key, value in asdict(replace(self, tracks=())).items()}
        return fields | {"tracks": [{name: _plain(getattr(track, name)) for name in _SHOWN} for track in self.tracks]}


def probe(
    path: str | Path, *, target: str | None = None, scale: int = 4, audio: str = "copy", stream: int | None = None
) -> ProbeReport:
    """Look at a file and rehearse its restoration in memory; nothing is written.

    Args:
        path: video file, image sequence pattern, or `-` for standard input.
        target: container such as `mkv`, or `png`; by default that of the file's suffix, else Matroska.
        scale: output size over input size, as for a run.
        audio: `copy`, `aac` or `none`, as for a run.
        stream: index of the video stream; by default the one that a run would take.

    Returns:
        What is in the file, and what the output of a run would lose of it.

    Raises:
        VideoReadError: the file cannot be read as video.
        OptionError: the target is not known.
    """
    container = target_container(target, str(path))
    with VideoReader(path, on_error="continue", stream=stream, dolby_vision="ignore") as reader:
        info = reader.info
        warnings = (*reader.warnings, *reader.problems)
        losses = find_losses(reader, container, scale=scale, audio=audio)
        try:
            check_dolby_vision(str(path), info.marks, "refuse")
        except VideoReadError as error:
            losses = replace(losses, refusal=str(error))
    is_file = not info.is_pipe and info.container != "image2"
    return ProbeReport(
        info=info,
        container=container_of_file(info).name,
        tracks=tracks_of(info) if is_file else (),
        size_bytes=Path(path).stat().st_size if is_file else None,
        warnings=warnings,
        losses=losses,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
