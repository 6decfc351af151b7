"""Closed segments: what is kept, what is thrown away, and that joining them changes nothing."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from fmanet_cli.errors import OptionError, VideoWriteError
from fmanet_cli.video.frames import Frame, VideoInfo
from fmanet_cli.video.pixels.colour import Colour
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.codecs import EncoderOptions
from fmanet_cli.video.write.segments import SegmentFolder, count_frames
from fmanet_cli.video.write.writer import VideoWriter
from support.folders import names_in
from support.moving_frames import make_frames

COUNT, SEGMENT_FRAMES = 21, 8
PTS = [int(pts) for pts in 700 + np.cumsum(np.random.default_rng(0).integers(200, 900, COUNT))]
LIKE = VideoInfo(
    path="made",
    height=48,
    width=64,
    time_base=Fraction(1, 12000),
    frame_rate=Fraction(24),
    colour=Colour(matrix=9, full_range=False, primaries=9, transfer=16),
    bit_depth=8,
)


def frames() -> list[Frame]:
    durations = [*(later - pts for pts, later in pairwise(PTS)), 321]
    return [
        Frame(made.image, pts=pts, time_base=LIKE.time_base, duration=duration)
        for made, pts, duration in zip(make_frames(COUNT, 48, 64), PTS, durations, strict=True)
    ]


def segment_folder(tmp_path: Path) -> SegmentFolder:
    folder = tmp_path / "segments"
    folder.mkdir(exist_ok=True)
    return SegmentFolder(folder, frames=SEGMENT_FRAMES)


def write(path: Path, codec: str, segments: SegmentFolder | None = None) -> VideoWriter:
    with VideoWriter(path, like=LIKE, scale=1, encoder=EncoderOptions(codec=codec), segments=segments) as writer:
        for frame in frames()[writer.frames_written :]:
            writer.write(frame)
    return writer


def write_and_stop(path: Path, segments: SegmentFolder, *, count: int, codec: str = "x264") -> None:
    writer = VideoWriter(path, like=LIKE, scale=1, encoder=EncoderOptions(codec=codec), segments=segments)
    for frame in frames()[writer.frames_written : count]:
        writer.write(frame)
    writer.abort()


def times(path: Path) -> list[tuple[float, float]]:
    with VideoReader(path) as reader:
        base = reader.info.time_base
        return [(round(frame.seconds, 4), round(float(frame.duration * base), 4)) for frame in reader]


def raw_digests(*paths: Path) -> list[str]:
    """Of the decoded planes of all frames, read without this package."""
    digests = []
    for path in paths:
        with av.open(str(path)) as container:
            digests += [hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest() for frame in container.decode(video=0)]
    return digests


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("x264", ".mp4"),
        ("x264", ".ts"),
        ("x264", ".nut"),
        ("x265", ".mkv"),
        ("x265", ".mp4"),
        ("svtav1", ".webm"),
        ("vp9", ".webm"),
        ("prores", ".mov"),
        ("ffv1", ".mkv"),
    ],
)
def test_joined_segments_are_the_segments_with_the_times_of_one_piece(tmp_path: Path, codec: str, suffix: str) -> None:
    whole, joined = tmp_path / f"whole{suffix}", tmp_path / f"joined{suffix}"
    write(whole, codec)
    segments = segment_folder(tmp_path)
    writer = write(joined, codec, segments)
    assert (writer.frames_written, writer.warnings) == (COUNT, [])
    assert [len(segment.pts) for segment in segments.segments] == [8, 8, 5]
    assert times(joined) == times(whole)
    assert raw_digests(joined) == raw_digests(*(segment.path for segment in segments.segments))
    with VideoReader(joined) as found, VideoReader(whole) as expected:
        for name in ("height", "width", "frame_rate", "time_base", "colour", "pixel_format", "codec", "start_seconds"):
            assert getattr(found.info, name) == getattr(expected.info, name), name


@pytest.mark.parametrize(
    ("rate", "time_base", "suffix"),
    [
        (Fraction(1, 3600), Fraction(1, 16384), ".mp4"),
        (Fraction(1, 3600), Fraction(3600), ".mkv"),
        (Fraction(25), Fraction(1, 10**9), ".mkv"),
    ],
)
def test_any_rate_and_time_base_can_be_in_segments(
    tmp_path: Path, rate: Fraction, time_base: Fraction, suffix: str
) -> None:
    like = replace(LIKE, frame_rate=rate, time_base=time_base)
    step, segments = int(1 / rate / time_base), segment_folder(tmp_path)
    encoder = EncoderOptions(codec="x264", extra={"bf": "2"})
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, like=like, scale=1, encoder=encoder, segments=segments) as writer:
        for number, made in enumerate(frames()):
            writer.write(Frame(made.image, number * step, time_base, step))
    assert [time for time, _ in times(path)] == [round(float(number / rate), 4) for number in range(COUNT)]


@pytest.mark.parametrize(("codec", "suffix"), [("prores", ".mov"), ("ffv1", ".mkv")])
def test_segments_cost_nothing_where_every_frame_is_a_key_frame(tmp_path: Path, codec: str, suffix: str) -> None:
    write(tmp_path / f"whole{suffix}", codec)
    write(tmp_path / f"joined{suffix}", codec, segment_folder(tmp_path))
    assert raw_digests(tmp_path / f"joined{suffix}") == raw_digests(tmp_path / f"whole{suffix}")


def test_going_on_gives_the_same_file(tmp_path: Path) -> None:
    unbroken, broken = tmp_path / "unbroken.mp4", tmp_path / "broken.mp4"
    write(unbroken, "x264", segment_folder(tmp_path))
    segments = segment_folder(tmp_path)
    segments.clear()
    for count in (10, 12, 20):
        write_and_stop(broken, segments, count=count)
        segments = segment_folder(tmp_path)
        assert list(segments.pts.values()) == PTS[: count // SEGMENT_FRAMES * SEGMENT_FRAMES]
    assert not broken.exists()
    write(broken, "x264", segments)
    assert raw_digests(broken) == raw_digests(unbroken)
    assert times(broken) == times(unbroken)


def test_what_is_not_whole_is_removed_and_its_gap_filled(tmp_path: Path) -> None:
    segments = segment_folder(tmp_path)
    write(tmp_path / "out.mp4", "x264", segments)
    folder, whole = segments.folder, raw_digests(tmp_path / "out.mp4")
    (folder / "000000016.segment.0123abcd.part").write_bytes(b"half")
    (folder / "journal.json").write_text("{}")
    assert count_frames(folder) == COUNT
    assert segment_folder(tmp_path).frame_count == COUNT
    content = (folder / "000000008.segment").read_bytes()
    (folder / "000000008.segment").write_bytes(content[:-100])
    segments = segment_folder(tmp_path)
    assert segments.gap() == (8, 16)
    assert [number for number in range(COUNT) if not segments.holds(number)] == list(range(8, 16))
    assert [name for name in names_in(folder) if name.startswith("000000008") or name.endswith("part")] == []
    writer = VideoWriter(
        tmp_path / "again.mp4", like=LIKE, scale=1, encoder=EncoderOptions(codec="x264"), segments=segments
    )
    with writer:
        assert writer.frames_written == COUNT - 8
        for frame in frames()[8:16]:
            writer.write(frame)
    assert raw_digests(tmp_path / "again.mp4") == whole


def test_a_file_with_a_gap_is_not_joined(tmp_path: Path) -> None:
    segments = segment_folder(tmp_path)
    write(tmp_path / "out.mp4", "x264", segments)
    (segments.folder / "000000008.json").unlink()
    writer = VideoWriter(
        tmp_path / "again.mp4",
        like=LIKE,
        scale=1,
        encoder=EncoderOptions(codec="x264"),
        segments=segment_folder(tmp_path),
    )
    with pytest.raises(VideoWriteError, match="frames 8 to 15 are missing"):
        writer.close()
    assert not (tmp_path / "again.mp4").exists()


def test_segments_of_another_encoder_are_not_joined(tmp_path: Path) -> None:
    segments = segment_folder(tmp_path)
    write_and_stop(tmp_path / "out.mp4", segments, count=8)
    other = EncoderOptions(codec="x264", pix_fmt="yuv444p")
    writer = VideoWriter(tmp_path / "out.mp4", like=LIKE, scale=1, encoder=other, segments=segments)
    for frame in frames()[8:]:
        writer.write(frame)
    with pytest.raises(VideoWriteError, match=r"000000008\.segment was encoded otherwise than those before it"):
        writer.close()
    assert not (tmp_path / "out.mp4").exists()


def test_raw_video_is_written_in_one_piece(tmp_path: Path) -> None:
    segments = segment_folder(tmp_path)
    writer = write(tmp_path / "out.nut", "raw", segments)
    assert (writer.frames_written, segments.segments, names_in(segments.folder)) == (COUNT, [], [])


def test_a_segment_has_a_frame(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="at least 1 frame, got 0"):
        SegmentFolder(tmp_path, frames=0)
