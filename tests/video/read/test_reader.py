"""Every frame once, with the right time, image and facts."""

from __future__ import annotations

import io
import os
import struct
import sys
import threading
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from fmanet_cli.errors import OptionError, VideoReadError
from fmanet_cli.video.frames import Frame
from fmanet_cli.video.read.images import encode_png
from fmanet_cli.video.read.reader import VideoReader
from support.clips import (
    cut_short,
    damage,
    make_clip,
    make_gif,
    make_interlaced,
    make_sound,
    number_of,
    numbered_frame,
)
from support.peak_memory import peak_kilobytes
from support.reading import frames_of, seconds

VARIABLE_PTS = [0, 3000, 6100, 9050, 15000, 15900, 24000, 27000, 30007, 40000, 41000, 60000]
TICK = Fraction(1, 90000)
MASTERING = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.mov", "clip.nut"])
@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_every_frame_comes_once_and_in_order(tmp_path: Path, name: str, count: int) -> None:
    expected = make_clip(tmp_path / name, count=count, options={"bf": "3", "preset": "medium", "qp": "4"})
    frames, reader = frames_of(tmp_path / name)
    assert [number_of(frame.image) for frame in frames] == list(range(count))
    assert seconds(frames) == expected
    assert {frame.duration * frame.time_base for frame in frames} == {Fraction(1, 25)}
    assert reader.frames_read == count
    assert reader.problems == []
    assert reader.warnings == []


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.nut"])
def test_variable_frame_rate_keeps_its_times(tmp_path: Path, name: str) -> None:
    pts = [time // 90 * 90 for time in VARIABLE_PTS] if name.endswith("mkv") else VARIABLE_PTS
    make_clip(tmp_path / name, pts=pts, time_base=TICK)
    frames, reader = frames_of(tmp_path / name)
    assert seconds(frames) == [time * TICK for time in pts]
    gaps = [following - time for time, following in pairwise(pts)]
    assert [frame.duration * frame.time_base for frame in frames[:-1]] == [gap * TICK for gap in gaps]
    # NUT says neither a count nor an end; its packets are not counted, which would need another opening.
    assert reader.info.frame_count == (17 if name.endswith("nut") else 12)


def test_a_start_after_zero_is_kept(tmp_path: Path) -> None:
    expected = make_clip(tmp_path / "late.mp4", pts=[5588 + 3600 * k for k in range(5)], time_base=TICK)
    frames, _ = frames_of(tmp_path / "late.mp4")
    assert len(frames) == 5
    assert [time - seconds(frames)[0] for time in seconds(frames)] == [time - expected[0] for time in expected]


def test_a_camera_may_write_exif_into_every_frame(tmp_path: Path) -> None:
    """PyAV has no name for that kind of side data, and gives none of the others then."""
    make_clip(tmp_path / "plain.mov", codec="mjpeg", pix_fmt="yuvj420p", count=3)
    orientation = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x112, 3, 1, 6, 0, 0)
    segment = b"\xff\xe1" + struct.pack(">H", len(orientation) + 2) + orientation
    with av.open(tmp_path / "plain.mov") as plain, av.open(tmp_path / "camera.mov", "w") as camera:
        stream = camera.add_stream_from_template(plain.streams.video[0])
        for packet in plain.demux(video=0):
            if jpeg := bytes(packet):
                told = av.Packet(jpeg[:2] + segment + jpeg[2:])
                told.pts, told.dts, told.time_base = packet.pts, packet.dts, packet.time_base
                told.duration, told.is_keyframe, told.stream = packet.duration, True, stream
                camera.mux(told)
    frames, reader = frames_of(tmp_path / "camera.mov")
    assert len(frames) == 3
    assert reader.info.display_matrix == (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    assert any("mirrors" in note for note in reader.warnings)


def test_facts_of_the_file(tmp_path: Path) -> None:
    make_clip(
        tmp_path / "facts.mp4",
        audio=["aac", "aac"],
        subtitles=[(0, 0.2, "one")],
        chapters=[(0, 0.2, "start"), (0.2, 0.48, "end")],
        rotation=90,
        sample_aspect_ratio=Fraction(64, 45),
        metadata={"title": "name"},
    )
    with VideoReader(tmp_path / "facts.mp4") as reader:
        info = reader.info
    assert (info.height, info.width, info.frame_rate, info.time_base) == (90, 160, 25, Fraction(1, 12800))
    assert (info.frame_count, info.duration_seconds) == (12, 0.48)
    assert info.display_matrix == (0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30)
    assert info.sample_aspect_ratio == Fraction(64, 45)
    assert [stream.kind for stream in info.streams][:4] == ["video", "audio", "audio", "subtitle"]
    assert [stream.language for stream in info.streams][1:3] == ["eng", "fra"]
    assert [chapter.metadata["title"] for chapter in info.chapters] == ["start", "end"]
    assert info.metadata["title"] == "name"
    assert (info.codec, info.bit_depth, info.pixel_format) == ("h264", 8, "yuv420p")


@pytest.mark.parametrize(
    ("tags", "size", "matrix", "full_range"),
    [
        ((6, 1, 6, 6), (90, 160), 6, False),
        ((1, 1, 1, 1), (90, 160), 1, False),
        ((1, 2, 1, 1), (90, 160), 1, True),
        ((9, 1, 9, 14), (90, 160), 9, False),
        (None, (90, 160), 6, False),
        (None, (288, 352), 5, False),
        (None, (90, 1280), 1, False),
    ],
)
def test_colour_tags_and_their_guess(
    tmp_path: Path, tags: tuple[int, int, int, int] | None, size: tuple[int, int], matrix: int, full_range: bool
) -> None:
    make_clip(tmp_path / "clip.mp4", count=2, height=size[0], width=size[1], tags=tags)
    with VideoReader(tmp_path / "clip.mp4") as reader:
        colour = reader.info.colour
    assert (colour.matrix, colour.full_range) == (matrix, full_range)
    assert (colour.primaries, colour.transfer) == (tags[2:] if tags else (2, 2))


def test_colour_can_be_chosen(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mkv", count=1, codec="ffv1", tags=(6, 1, 6, 6))
    tagged, _ = frames_of(tmp_path / "clip.mkv")
    chosen, reader = frames_of(tmp_path / "clip.mkv", colour="bt709-full")
    assert (reader.info.colour.matrix, reader.info.colour.full_range) == (1, True)
    assert np.abs(tagged[0].image - chosen[0].image).max() > 0.03
    with pytest.raises(OptionError, match="colour 'rgb' is not known"):
        VideoReader(tmp_path / "clip.mkv", colour="rgb")


def test_hdr_is_read_with_its_metadata(tmp_path: Path) -> None:
    make_clip(
        tmp_path / "hdr.mp4",
        codec="libx265",
        pix_fmt="yuv420p10le",
        tags=(9, 1, 9, 16),
        options={"x265-params": f"log-level=none:hdr10=1:repeat-headers=1:{MASTERING}"},
    )
    frames, reader = frames_of(tmp_path / "hdr.mp4")
    info = reader.info
    assert len(frames) == 12
    assert (info.bit_depth, info.colour.transfer, info.colour.primaries) == (10, 16, 9)
    assert info.hdr is not None
    assert info.hdr.content_light == (1000, 400)
    assert info.hdr.luminance == (Fraction(1, 10000), 1000)
    assert info.hdr.primaries is not None
    assert info.hdr.primaries[:2] == (Fraction(34000, 50000), Fraction(16000, 50000))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p", "gray"])
def test_odd_sizes_are_read_whole(tmp_path: Path, pix_fmt: str) -> None:
    make_clip(tmp_path / "odd.mkv", count=3, height=181, width=321, codec="ffv1", pix_fmt=pix_fmt)
    frames, _ = frames_of(tmp_path / "odd.mkv")
    assert [frame.image.shape for frame in frames] == [(181, 321, 3)] * 3
    assert [number_of(frame.image) for frame in frames] == [0, 1, 2]


def test_cover_art_is_not_the_video(tmp_path: Path) -> None:
    make_clip(tmp_path / "cover.mp4", cover=True, audio=["aac"])
    frames, reader = frames_of(tmp_path / "cover.mp4")
    assert len(frames) == 12
    assert reader.info.height == 90
    assert [stream.is_cover for stream in reader.info.streams].count(True) == 1


def test_animations_lose_their_transparency_only(tmp_path: Path) -> None:
    make_gif(tmp_path / "a.gif")
    frames, reader = frames_of(tmp_path / "a.gif")
    assert len(frames) == 6
    assert seconds(frames)[1] == Fraction(1, 10)
    assert (reader.info.colour.matrix, reader.info.colour.full_range) == (1, False)


def test_transparency_is_dropped_with_a_warning(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mov"), "w") as output:
        stream = output.add_stream("png", rate=25)
        stream.height, stream.width, stream.pix_fmt = 8, 8, "rgba"
        frame = av.VideoFrame.from_ndarray(np.full((8, 8, 4), 77, np.uint8), format="rgba")
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    frames, reader = frames_of(tmp_path / "a.mov")
    assert np.abs(frames[0].image - 77 / 255).max() < 1e-6
    assert reader.warnings == ["the video has transparency, which is dropped"]


def test_motion_jpeg_is_full_range_601_with_centred_chroma(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.avi", codec="mjpeg", pix_fmt="yuvj420p", options={"qmin": "2", "qmax": "2"})
    frames, reader = frames_of(tmp_path / "a.avi")
    colour = reader.info.colour
    assert [number_of(frame.image) for frame in frames] == list(range(12))
    assert (colour.matrix, colour.full_range, colour.chroma_location) in [(5, True, "centre"), (6, True, "centre")]


def test_a_part_is_read_by_time(tmp_path: Path) -> None:
    make_clip(tmp_path / "long.mp4", count=200, height=36, width=64, options={"g": "12", "preset": "medium"})
    frames, reader = frames_of(tmp_path / "long.mp4", start_seconds=6.0, end_seconds=6.2)
    assert [number_of(frame.image) for frame in frames] == [150, 151, 152, 153, 154]
    assert seconds(frames)[0] == 6
    assert frames[-1].duration * frames[-1].time_base == Fraction(1, 25)
    assert reader.info.frame_count == 5
    assert len(frames_of(tmp_path / "long.mp4", end_seconds=0.09)[0]) == 3


def test_an_empty_part_is_an_error(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4")
    with pytest.raises(VideoReadError, match="has no frame between the asked start and end"):
        frames_of(tmp_path / "a.mp4", start_seconds=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_seconds": -1}, "the start must not be negative, got -1"),
        ({"start_seconds": 2, "end_seconds": 1}, "the end must be later than the start, got 1"),
        ({"on_error": "skip"}, "on_error must be stop or continue, got 'skip'"),
        ({"deinterlace": "yes"}, "deinterlace must be auto, off, bwdif or yadif, got 'yes'"),
        ({"frame_rate": Fraction(0)}, "the frame rate must be positive, got 0"),
    ],
)
def test_impossible_options_are_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        VideoReader(tmp_path / "none.mp4", **options)


def test_fields_are_woven_apart_when_flagged(tmp_path: Path) -> None:
    make_interlaced(tmp_path / "fields.mp4")
    frames, reader = frames_of(tmp_path / "fields.mp4")
    woven, other = frames_of(tmp_path / "fields.mp4", deinterlace="off")
    assert len(frames) == len(woven) == 8
    assert seconds(frames) == seconds(woven)

    def combing(frame: Frame) -> float:
        rows = frame.image[8:-8, :, 1]
        return float(np.abs(2 * rows[1:-1] - rows[:-2] - rows[2:]).mean())

    assert combing(frames[4]) < 0.25 * combing(woven[4])
    assert (reader.info.interlaced, other.info.interlaced) == (False, True)
    assert other.warnings == ["the video is interlaced and is restored without deinterlacing"]
    assert len(frames_of(tmp_path / "fields.mp4", deinterlace="yadif")[0]) == 8


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.avi"])
def test_a_truncated_file_stops_before_the_work(tmp_path: Path, name: str) -> None:
    whole = tmp_path / f"whole{Path(name).suffix}"
    make_clip(whole, count=40, options={"preset": "veryfast", "qp": "10", "bf": "0"})
    if name.endswith("mp4"):
        whole = _with_index_first(whole, tmp_path / "first.mp4")
    cut_short(whole, tmp_path / name, 0.6)
    with pytest.raises(VideoReadError, match=r"the file is cut short: .*; the good frames are kept"):
        VideoReader(tmp_path / name)
    frames, reader = frames_of(tmp_path / name, on_error="continue")
    numbers = [number_of(frame.image) for frame in frames]
    assert 10 < len(numbers) < 40
    assert numbers[:10] == list(range(10))
    assert reader.problem_count >= 1
    assert "the file is cut short" in reader.problems[0]


def _with_index_first(source: Path, target: Path) -> Path:
    with av.open(str(source)) as old, av.open(str(target), "w", container_options={"movflags": "+faststart"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    return target


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_damage_in_the_middle_is_counted(tmp_path: Path, name: str) -> None:
    make_clip(tmp_path / name, count=60, options={"g": "10", "qp": "10", "preset": "veryfast"})
    damage(tmp_path / name, tmp_path / f"bad_{name}", at=0.5, length=900)
    with pytest.raises(VideoReadError, match=r"the good frames are kept where faults may be passed over$"):
        frames_of(tmp_path / f"bad_{name}")
    frames, reader = frames_of(tmp_path / f"bad_{name}", on_error="continue")
    assert len(frames) > 40
    assert number_of(frames[0].image) == 0
    assert number_of(frames[-1].image) == 59
    assert reader.problem_count >= 1
    assert len(reader.problems) <= 100


def test_useless_files_give_one_line(tmp_path: Path) -> None:
    make_sound(tmp_path / "sound.m4a")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is no video\n" * 50)
    (tmp_path / "noise.mkv").write_bytes(np.random.default_rng(0).bytes(5000))
    make_clip(tmp_path / "whole.mp4")
    cut_short(tmp_path / "whole.mp4", tmp_path / "index.mp4", 0.5)
    for name, message in {
        "sound.m4a": "holds no video stream",
        "empty.mp4": "is empty",
        "text.mp4": "cannot be read",
        "noise.mkv": "cannot be read",
        "index.mp4": "cannot be read",
        "absent.mp4": "does not exist",
        ".": "is a folder",
    }.items():
        with pytest.raises(VideoReadError, match=message) as caught:
            VideoReader(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_change_of_size_is_an_error(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.ts", count=10)
    make_clip(tmp_path / "b.ts", count=10, height=72, width=128)
    (tmp_path / "joined.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    with pytest.raises(VideoReadError, match=r"changes size from 160x90 to 128x72 at .* s; split it there"):
        frames_of(tmp_path / "joined.ts", on_error="continue")


def test_times_that_start_again_are_continued(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.ts", count=50)
    (tmp_path / "joined.ts").write_bytes((tmp_path / "a.ts").read_bytes() * 2)
    frames, reader = frames_of(tmp_path / "joined.ts", on_error="continue")
    assert [number_of(frame.image) for frame in frames] == [*range(50), *range(50)]
    stamps = seconds(frames)
    assert all(later > earlier for earlier, later in pairwise(stamps))
    assert any("timestamp that goes back" in problem for problem in reader.problems)


def test_a_raw_stream_gets_times_from_its_rate(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.h264", count=10, container_format="h264")
    frames, _ = frames_of(tmp_path / "a.h264", frame_rate=Fraction(24000, 1001))
    assert [number_of(frame.image) for frame in frames] == list(range(10))
    expected = [Fraction(1001 * k, 24000) for k in range(10)]
    assert max(abs(a - b) for a, b in zip(seconds(frames), expected, strict=True)) < Fraction(1, 1000)


def test_image_sequences_are_listed_here(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((9, 14, 3), np.float32)
    for number in (7, 8, 9, 10):
        (tmp_path / f"f_{number:03d}.png").write_bytes(encode_png(image * (number / 10), bit_depth=16))
    frames, reader = frames_of(tmp_path / "f_%03d.png", frame_rate=Fraction(24))
    assert [round(float(frame.image.max() / image.max()), 3) for frame in frames] == [0.7, 0.8, 0.9, 1.0]
    assert seconds(frames) == [Fraction(k, 24) for k in range(4)]
    assert (reader.info.bit_depth, reader.info.frame_count, reader.info.container) == (16, 4, "image2")
    (tmp_path / "f_009.png").unlink()
    with pytest.raises(VideoReadError, match=r"has a gap: .*f_009\.png is missing"):
        VideoReader(tmp_path / "f_%03d.png")
    with pytest.raises(VideoReadError, match="no image matches"):
        VideoReader(tmp_path / "g_%03d.png")


@pytest.mark.parametrize("form", ["yuv4mpegpipe", "nut", "matroska"])
def test_standard_input_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    codec = "rawvideo" if form == "yuv4mpegpipe" else "libx264"
    make_clip(tmp_path / "piped", codec=codec, container_format=form, options={})
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write((tmp_path / "piped").read_bytes())

    feeder = threading.Thread(target=feed)
    feeder.start()
    with io.BufferedReader(io.FileIO(reading)) as buffer:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=buffer))
        frames, reader = frames_of("-")
    feeder.join()
    assert [number_of(frame.image) for frame in frames] == list(range(12))
    assert reader.info.is_pipe


def test_frames_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    header = b"YUV4MPEG2 W60000 H60000 F25:1 Ip A1:1 C420jpeg\n"
    (tmp_path / "huge.y4m").write_bytes(header + b"FRAME\n" + bytes(100))
    with pytest.raises(VideoReadError):
        VideoReader(tmp_path / "huge.y4m")


def test_frames_are_checked() -> None:
    with pytest.raises(ValueError, match=r"image must be \(H, W, 3\) float32"):
        Frame(np.zeros((2, 2), np.float32), 0, Fraction(1, 25))
    frame = Frame(np.zeros((2, 4, 3), np.float32), 50, Fraction(1, 25), 1)
    assert repr(frame) == "Frame(2x4, pts=50, time_base=1/25, duration=1)"
    assert frame.seconds == 2.0


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    peaks = {}
    for count in (100, 400):
        make_clip(tmp_path / f"{count}.mp4", count=count)
        peaks[count] = _peak_kilobytes(tmp_path / f"{count}.mp4")
    assert peaks[400] - peaks[100] < 8_000


def _peak_kilobytes(path: Path) -> int:
    code = (
        "from fmanet_cli.video.read.reader import VideoReader\n"
        "with VideoReader(sys.argv[1]) as reader:\n"
        "    for frame in reader: pass"
    )
    return peak_kilobytes(code, str(path))


def test_the_maker_draws_what_it_says() -> None:
    frame = numbered_frame(5, 90, 160, "yuv420p")
    assert number_of(frame.to_ndarray(format="rgb24") / 255) == 5
