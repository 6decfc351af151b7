"""`fmanet probe`: what is in a file, and what restoring it would lose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fmanet_cli.cli.terminal import echo

if TYPE_CHECKING:
    from fmanet_cli.video.contents import ProbeReport
    from fmanet_cli.video.frames import VideoInfo


@click.command("probe")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--target", metavar="mkv|mp4|...", help="Container to restore into.  [default: that of the file]")
@click.option("-s", "--scale", type=click.Choice(["4", "2", "1"]), default="4", help="Output size over input size.")
@click.option("--audio", type=click.Choice(["copy", "aac", "none"]), default="copy", help="What becomes of sound.")
@click.option("--stream", type=click.IntRange(min=0), metavar="N", help="Video stream.  [default: the main one]")
@click.option("--json", "as_json", is_flag=True, help="Print everything that is known as JSON.")
def command(file: Path, target: str | None, scale: str, audio: str, stream: int | None, as_json: bool) -> None:
    """Say what is in FILE and what would be lost by restoring it into a container. Nothing is written.

    Example: fmanet probe holiday.mkv --target mp4
    """
    from fmanet_cli.video.contents import probe

    report = probe(file, target=target, scale=int(scale), audio=audio, stream=stream)
    if as_json:
        echo(json.dumps(report.as_dict(), indent=1))
    else:
        print_probe(report)


def print_probe(report: ProbeReport) -> None:
    """Tables of the video, its streams, chapters and tags, then the losses; on standard output."""
    from rich.markup import escape
    from rich.table import Table

    from fmanet_cli.cli.console import facts_table, make_console

    console = make_console(soft_wrap=True)
    console.print(facts_table(_facts(report)))
    if report.tracks:
        streams = Table("stream", "kind", "codec", "language", "title", "flags", box=None, pad_edge=False)
        for track in report.tracks:
            texts = (track.kind, track.codec, track.language, track.title, " ".join(track.flags))
            streams.add_row(str(track.index), *(escape(text) for text in texts))
        console.print("", streams)
    if report.info.chapters:
        chapters = Table("chapter", "from", "to", "title", box=None, pad_edge=False)
        for number, chapter in enumerate(report.info.chapters, 1):
            times = (f"{float(seconds):.3f} s" for seconds in (chapter.start_seconds, chapter.end_seconds))
            chapters.add_row(str(number), *times, escape(chapter.metadata.get("title", "")))
        console.print("", chapters)
    if report.info.metadata:
        tags = Table("tag", "value", box=None, pad_edge=False)
        for key, value in report.info.metadata.items():
            tags.add_row(escape(key), escape(value))
        console.print("", tags)
    console.print("")
    for warning in report.warnings:
        console.print(f"warning: {escape(warning)}")
    losses = report.losses
    if losses.refusal:
        console.print(f"[bold red]cannot be restored into {losses.container}:[/bold red] {escape(losses.refusal)}")
    elif not losses.lost:
        console.print(f"[green]nothing would be lost in {losses.container}[/green]")
    else:
        console.print(f"[yellow]restored into {losses.container}:[/yellow]")
        for loss in losses.lost:
            console.print(f"  {escape(loss)}")


def _facts(report: ProbeReport) -> Iterator[tuple[str, str]]:
    info = report.info
    yield "file", info.path + (f", {report.size_bytes:,} bytes" if report.size_bytes is not None else "")
    yield "container", report.container
    yield "video", f"{info.codec}, {info.width}x{info.height}, {info.pixel_format}, {info.bit_depth} bits"
    yield "rate", f"{float(info.frame_rate):g} frames/s, times in 1/{1 / info.time_base} s"
    yield "frames", "unknown" if info.frame_count is None else f"about {info.frame_count}"
    if info.duration_seconds is not None:
        yield "duration", f"{info.duration_seconds:.3f} s from {float(info.start_seconds):.3f} s on"
    yield "colour", _colour_text(info)
    if info.sample_aspect_ratio != 1:
        yield "pixel shape", str(info.sample_aspect_ratio)
    if info.display_matrix is not None:
        yield "rotation", " ".join(map(str, info.display_matrix))
    if info.interlaced:
        yield "fields", "interlaced"
    if info.marks.named():
        yield "marks", ", ".join(f"{name}: {value}" for name, value in info.marks.named().items())
    if info.crop is not None:
        crop = info.crop
        yield "cropped", f"{crop.top} rows at the top, {crop.bottom} below, {crop.left} left, {crop.right} right"
    if info.hdr is not None:
        yield "HDR", f"mastering metadata{', light levels' if info.hdr.content_light else ''}"


def _colour_text(info: VideoInfo) -> str:
    colour = info.colour
    codes = f"matrix {colour.matrix}, primaries {colour.primaries}, transfer {colour.transfer} (H.273)"
    return f"{codes}, {'full' if colour.full_range else 'limited'} range"
