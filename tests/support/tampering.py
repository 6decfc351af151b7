"""Plain copies of clips, whole or with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from fmanet_cli.video.frames import Frame, VideoInfo
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.codecs import EncoderOptions
from fmanet_cli.video.write.writer import VideoWriter

FAST = EncoderOptions(preset="ultrafast")


def enlarged_copy(
    source: Path,
    target: Path,
    *,
    scale: int = 2,
    like: dict[str, Any] | None = None,
    change: Callable[[list[Frame]], list[Frame]] | None = None,
    read: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[VideoInfo, Fraction]:
    """A copy with enlarged frames; `like` replaces facts of the source and `change` its frames.

    Returns the source's facts and by how much every timestamp was moved.
    """
    options.setdefault("encoder", FAST if target.suffix not in (".png", ".webm", ".y4m") else None)
    with VideoReader(source, **(read or {})) as reader:
        facts = replace(reader.info, **(like or {}))
        frames = [Frame(f.image.repeat(scale, 0).repeat(scale, 1), f.pts, f.time_base, f.duration) for f in reader]
        with VideoWriter(target, like=facts, scale=scale, overwrite=True, **options) as writer:
            for frame in change(frames) if change is not None else frames:
                writer.write(frame)
        return reader.info, writer.shift_seconds


def remuxed(
    source: Path,
    target: Path,
    *,
    packet: Callable[[av.Packet], av.Packet] = lambda packet: packet,
    stream: Callable[[Any], None] = lambda _: None,
) -> None:
    """The same packets in a new file; `packet` and `stream` may change each on its way."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = {}
        for template in old.streams:
            added: Any = new.add_stream_from_template(template, opaque=True)
            added.metadata.update({k: v for k, v in template.metadata.items() if k in ("language", "title")})
            added.disposition = template.disposition
            stream(added)
            streams[template.index] = added
        new.metadata.update(old.metadata)
        for item in old.demux():
            if item.size:
                index = item.stream.index
                changed = packet(item)
                changed.stream = streams[index]
                new.mux(changed)
