"""Small synthetic video files of every kind, made with PyAV alone."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.subtitles.subtitle import SubtitleSet

_NUMBER_BITS = 8
AUDIO_RATE = 48000
COVER = "cover.png"


def numbered_luma(number: int, height: int, width: int, bits: int = 8) -> np.ndarray:
    """(H, W) luma codes: the number as eight black or white bars in the upper quarter, a moving gradient below."""
    unit = 1 << (bits - 8)
    rows, columns = np.mgrid[:height, :width]
    luma = 40 + (columns * 120 // width + rows * 40 // height + 3 * number) % 180
    for bit in range(_NUMBER_BITS):
        left, right = bit * width // _NUMBER_BITS, (bit + 1) * width // _NUMBER_BITS
        luma[: height // 4, left:right] = 220 if number >> bit & 1 else 30
    return (luma * unit).astype(np.uint8 if bits == 8 else np.uint16)


def number_of(image: np.ndarray) -> int:
    """The number that `numbered_luma` drew, read from a decoded RGB image."""
    height, width = image.shape[:2]
    row = image[height // 8, :, 1]
    centres = [(2 * bit + 1) * width // (2 * _NUMBER_BITS) for bit in range(_NUMBER_BITS)]
    return sum(1 << bit for bit, x in enumerate(centres) if row[x] > 0.5)


def yuv_frame(planes: Sequence[np.ndarray], pix_fmt: str) -> av.VideoFrame:
    """A frame of planar data."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pix_fmt)
    for target, plane in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(target, np.uint8).reshape(-1, target.line_size)
        data = np.ascontiguousarray(plane).view(np.uint8).reshape(plane.shape[0], -1)
        rows[: data.shape[0], : data.shape[1]] = data
    return frame


def numbered_frame(number: int, height: int, width: int, pix_fmt: str) -> av.VideoFrame:
    """A numbered frame with mild chroma gradients."""
    bits = 10 if "10" in pix_fmt else 8
    luma = numbered_luma(number, height, width, bits)
    if pix_fmt.startswith("gray"):
        return yuv_frame([luma], pix_fmt)
    horizontal = 1 if "420" in pix_fmt or "422" in pix_fmt else 0
    vertical = 1 if "420" in pix_fmt else 0
    shape = (height + vertical) >> vertical, (width + horizontal) >> horizontal
    unit = 1 << (bits - 8)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    blue = (118 + columns * 20 // shape[1]) * unit
    red = (138 - rows * 20 // shape[0]) * unit
    return yuv_frame([luma, blue.astype(luma.dtype), red.astype(luma.dtype)], pix_fmt)


def make_clip(
    path: Path,
    *,
    count: int = 12,
    height: int = 90,
    width: int = 160,
    rate: Fraction = Fraction(25),
    time_base: Fraction | None = None,
    pts: Sequence[int] | None = None,
    last_duration: int | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    tags: tuple[int, int, int, int] | None = None,
    sample_aspect_ratio: Fraction | None = None,
    rotation: int | None = None,
    audio: Sequence[str] = (),
    audio_start: Fraction = Fraction(0),
    subtitles: Sequence[tuple[float, float, str]] = (),
    chapters: Sequence[tuple[float, float, str]] = (),
    attachment: bytes | None = None,
    cover: bool = False,
    metadata: Mapping[str, str] | None = None,
    container_format: str | None = None,
) -> list[Fraction]:
    """Write a file; return the presentation times of its frames in seconds.

    tags: (matrix, range, primaries, transfer). pts: in `time_base`, by default at a constant rate.
    """
    base = time_base or 1 / (rate * 512)
    step = round(1 / rate / base)
    times = list(pts) if pts is not None else [step * number for number in range(count)]
    quality = {"libx264": {"preset": "veryfast", "qp": "4"}, "libx265": {"x265-params": "log-level=none", "qp": "8"}}
    muxer = {"avoid_negative_ts": "disabled"} if path.suffix == ".nut" else {}
    with av.open(str(path), "w", format=container_format, container_options=muxer) as output:
        stream: Any = output.add_stream(codec, rate=rate, options=dict(options or quality.get(codec, {})))
        stream.height, stream.width, stream.pix_fmt = height, width, pix_fmt
        stream.codec_context.time_base = base
        stream.codec_context.flags |= int(av.codec.context.Flags.frame_duration)
        if tags is not None:
            matrix, value_range, primaries, transfer = tags
            stream.codec_context.colorspace, stream.codec_context.color_range = matrix, value_range
            stream.codec_context.color_primaries, stream.codec_context.color_trc = primaries, transfer
        if sample_aspect_ratio is not None:
            stream.codec_context.sample_aspect_ratio = sample_aspect_ratio
        if rotation is not None:
            stream.set_display_rotation(rotation)
        tracks = [_audio_track(output, name, number) for number, name in enumerate(audio)]
        text = _subtitle_track(output, path.suffix) if subtitles else None
        cover_stream = _cover_track(output) if cover else None
        if attachment is not None:
            output.add_attachment("font.ttf", "application/x-truetype-font", attachment)
        output.metadata.update(metadata or {})
        if chapters:
            output.set_chapters([_chapter(number, *chapter) for number, chapter in enumerate(chapters)])
        if cover_stream is not None:
            _mux_cover(output, cover_stream)
        end = times[-1] + (last_duration or step)
        for number, (time, following) in enumerate(zip(times, [*times[1:], end], strict=True)):
            frame = numbered_frame(number, height, width, pix_fmt)
            frame.pts, frame.time_base, frame.duration = time, base, following - time
            if tags is not None:
                frame.colorspace, frame.color_range = tags[0], tags[1]
                frame.color_primaries, frame.color_trc = tags[2], tags[3]
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        for track in tracks:
            _mux_tone(output, track, seconds=(end - times[0]) * base, start=audio_start)
        if text is not None:
            _mux_subtitles(output, text, subtitles)
    return [time * base for time in times]


def make_gif(path: Path, count: int = 6) -> None:
    """An animation with a palette."""
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("gif", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "rgb8"
        for number in range(count):
            array = np.repeat(numbered_luma(number, 48, 64)[..., None], 3, axis=2)
            frame = av.VideoFrame.from_ndarray(array, format="rgb24").reformat(format="rgb8")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def make_sound(path: Path) -> None:
    """A file without video."""
    with av.open(str(path), "w") as output:
        track = _audio_track(output, "aac", 0)
        _mux_tone(output, track, seconds=Fraction(1), start=Fraction(0))


def make_interlaced(path: Path, count: int = 8) -> None:
    """Woven fields of a bar that moves sideways, flagged top field first."""
    height, width = 96, 128
    with av.open(str(path), "w") as output:
        options = {"flags": "+ilme+ildct", "qp": "4", "x264-params": "tff=1"}
        stream: Any = output.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        graph = av.filter.Graph()
        source = graph.add_buffer(width=width, height=height, format="yuv420p", time_base=Fraction(1, 25))
        graph.link_nodes(source, graph.add("setfield", "mode=tff"), graph.add("buffersink")).configure()
        for number in range(count):
            luma = np.full((height, width), 60, np.uint8)
            for field in (0, 1):
                left = 8 + 4 * (2 * number + field)
                luma[field::2, left : left + 16] = 200
            chroma = np.full((height // 2, width // 2), 128, np.uint8)
            frame = yuv_frame([luma, chroma, chroma], "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            graph.push(frame)
            woven = graph.pull()
            woven.pict_type = 0
            output.mux(stream.encode(woven))
        output.mux(stream.encode(None))


def cut_short(source: Path, target: Path, share: float) -> None:
    """The first part of a file."""
    content = source.read_bytes()
    target.write_bytes(content[: int(len(content) * share)])


def damage(source: Path, target: Path, *, at: float = 0.5, length: int = 600) -> None:
    """A file with some bytes inverted."""
    content = bytearray(source.read_bytes())
    start = int(len(content) * at)
    content[start : start + length] = bytes(byte ^ 0xFF for byte in content[start : start + length])
    target.write_bytes(bytes(content))


def packet_payloads(path: Path, kind: str) -> list[list[bytes]]:
    """Payloads of every packet, for each stream of a kind except cover art."""
    found: list[list[bytes]] = []
    with av.open(str(path)) as container:
        indices = [s.index for s in container.streams if s.type == kind]
    for index in indices:
        with av.open(str(path)) as container:
            wanted = container.streams[index]
            found.append([bytes(packet) for packet in container.demux(wanted) if packet.size])
    return found


def packet_times(path: Path, kind: str) -> list[list[Fraction]]:
    """Presentation times in seconds of every packet, for each stream of a kind."""
    found: dict[int, list[Fraction]] = {}
    with av.open(str(path)) as container:
        streams = [s for s in container.streams if s.type == kind]
        for packet in container.demux(*streams) if streams else ():
            if packet.size:
                time = packet.pts * Fraction(packet.time_base.numerator, packet.time_base.denominator)
                found.setdefault(packet.stream.index, []).append(time)
    return [found[index] for index in sorted(found)]


def _audio_track(output: Any, codec: str, number: int) -> Any:
    track = output.add_stream(codec, rate=AUDIO_RATE)
    track.layout = "stereo"
    track.metadata["language"] = ("eng", "fra", "deu")[number % 3]
    return track


def _mux_tone(output: Any, track: Any, *, seconds: Fraction, start: Fraction) -> None:
    track.codec_context.open(strict=False)
    size = track.codec_context.frame_size or 1024
    kind = track.codec_context.format.name
    total = int(seconds * AUDIO_RATE)
    for first in range(0, total, size):
        wave = 0.2 * np.sin((np.arange(first, first + size) + track.index * 100) * 2 * np.pi * 440 / AUDIO_RATE)
        samples = np.stack([wave, wave])
        if kind.startswith("s16"):
            samples = (samples * 32767).astype(np.int16)
        if not kind.endswith("p"):
            samples = samples.T.reshape(1, -1)
        array = np.ascontiguousarray(samples if kind.startswith("s16") else samples.astype(np.float32))
        frame = av.AudioFrame.from_ndarray(array, format=kind, layout="stereo")
        frame.sample_rate = AUDIO_RATE
        frame.pts, frame.time_base = first + int(start * AUDIO_RATE), Fraction(1, AUDIO_RATE)
        output.mux(track.encode(frame))
    output.mux(track.encode(None))


def _subtitle_track(output: Any, suffix: str) -> Any:
    track = output.add_stream("mov_text" if suffix in (".mp4", ".mov") else "subrip")
    track.codec_context.subtitle_header = b"[Script Info]\nScriptType: v4.00+\n"
    track.codec_context.time_base = track.time_base = Fraction(1, 1000)
    track.metadata["language"] = "eng"
    return track


def _mux_subtitles(output: Any, track: Any, subtitles: Sequence[tuple[float, float, str]]) -> None:
    for number, (start, end, text) in enumerate(subtitles):
        times = round(start * 1000), round((end - start) * 1000)
        line = f"{number},0,Default,,0,0,0,,{text}".encode()
        packet = track.codec_context.encode_subtitle(SubtitleSet.create(text=line, start=0, end=times[1], pts=times[0]))
        packet.time_base, packet.pts, packet.dts = Fraction(1, 1000), times[0], times[0]
        packet.duration, packet.stream = times[1], track
        output.mux(packet)


def _cover_track(output: Any) -> Any:
    cover = io.BytesIO()
    with av.open(cover, "w", format="image2pipe") as file:
        still: Any = file.add_stream("png", rate=1)
        still.height, still.width, still.pix_fmt = 24, 32, "rgb24"
        frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), 90, np.uint8), format="rgb24")
        frame.pts = 0
        file.mux(still.encode(frame))
        file.mux(still.encode(None))
    cover.seek(0)
    source = av.open(cover, format="png_pipe")
    track = output.add_stream_from_template(source.streams.video[0], opaque=True)
    track.disposition = av.stream.Disposition.attached_pic
    return track, source


def _mux_cover(output: Any, cover: Any) -> None:
    track, source = cover
    for packet in source.demux():
        if packet.size:
            packet.stream = track
            output.mux(packet)
    source.close()


def _chapter(number: int, start: float, end: float, title: str) -> dict[str, Any]:
    return {
        "id": number,
        "start": round(start * 1000),
        "end": round(end * 1000),
        "time_base": Fraction(1, 1000),
        "metadata": {"title": title},
    }
