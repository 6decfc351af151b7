"""What comes out of a writer: frames, times, colours, and everything else of the source."""

from __future__ import annotations

import os
import sys
import threading
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from fmanet_cli.errors import OptionError, OutputExistsError, VideoWriteError
from fmanet_cli.video.frames import Frame, PlanarFrame, VideoInfo
from fmanet_cli.video.pixels.colour import Colour, rgb_to_planes
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.codecs import EncoderOptions
from fmanet_cli.video.write.writer import VideoWriter
from support.clips import make_clip, number_of, packet_payloads, packet_times
from support.peak_memory import peak_kilobytes
from support.reading import seconds

VARIABLE_PTS = [0, 3000, 6100, 9050, 15000, 15900, 24000, 27000, 30007, 40000, 41000, 60000]
TICK = Fraction(1, 90000)
MASTERING = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
FONT = bytes(range(256))
FAST = EncoderOptions(preset="ultrafast")


def enlarged(frame: Frame, scale: int) -> Frame:
    image = frame.image.repeat(scale, axis=0).repeat(scale, axis=1)
    return Frame(image, frame.pts, frame.time_base, frame.duration)


def copy(
    source: Path, target: Path | str, *, scale: int = 2, read: dict[str, Any] | None = None, **options: Any
) -> Any:
    """Write a plainly enlarged copy; return the closed writer."""
    options.setdefault("encoder", FAST if not str(target).endswith("png") else None)
    with (
        VideoReader(source, **(read or {})) as reader,
        VideoWriter(target, like=reader.info, scale=scale, **options) as writer,
    ):
        for frame in reader:
            writer.write(enlarged(frame, scale))
        return writer


def frames_of(path: Path, **options: Any) -> tuple[list[Frame], VideoInfo]:
    with VideoReader(path, **options) as reader:
        return list(reader), reader.info


HDR_OPTIONS = {"x265-params": f"log-level=none:hdr10=1:repeat-headers=1:{MASTERING}"}
KINDS: dict[str, dict[str, Any]] = {
    "constant.mp4": {"audio": ["aac"]},
    "variable.mp4": {"pts": VARIABLE_PTS, "time_base": TICK, "audio": ["aac"]},
    "variable.mkv": {"pts": [time // 90 * 90 for time in VARIABLE_PTS], "time_base": TICK},
    "rotated.mp4": {"rotation": 90, "audio": ["aac"]},
    "two_sounds.mkv": {"audio": ["aac", "ac3"], "subtitles": [(0, 0.2, "one"), (0.3, 0.4, "two")]},
    "silent.mp4": {},
    "odd.mkv": {"height": 181, "width": 321, "codec": "ffv1"},
    "one.mp4": {"count": 1},
    "two.mp4": {"count": 2},
    "two_hevc.mp4": {"count": 2, "codec": "libx265", "options": {"x265-params": "log-level=none:bframes=0"}},
    "bt601.mp4": {"tags": (6, 1, 6, 6)},
    "bt709_full.mp4": {"tags": (1, 2, 1, 1)},
    "hdr.mp4": {"codec": "libx265", "pix_fmt": "yuv420p10le", "tags": (9, 1, 9, 16), "options": HDR_OPTIONS},
    "reordered.mp4": {"count": 40, "options": {"bf": "5", "b-pyramid": "strict", "preset": "medium"}},
    "late.mp4": {"pts": [19200 + 512 * k for k in range(12)], "audio": ["aac"]},
    "odd_start.mp4": {"pts": [5588 + 3600 * k for k in range(12)], "time_base": TICK},
    "late_sound.mkv": {"audio": ["flac"], "audio_start": Fraction(1, 2)},
    "anamorphic.mp4": {"height": 144, "width": 180, "sample_aspect_ratio": Fraction(64, 45)},
    "chapters.mp4": {"chapters": [(0, 0.2, "one"), (0.2, 0.48, "two")], "cover": True, "metadata": {"title": "T"}},
    "attached.mkv": {"attachment": FONT, "chapters": [(0, 0.2, "one")], "metadata": {"custom": "x"}},
    "deep.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le", "audio": ["pcm_s16le"]},
    "film.mp4": {"rate": Fraction(24000, 1001), "count": 24},
}


@pytest.mark.parametrize("name", KINDS)
def test_a_copy_keeps_everything(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / name, tmp_path / f"copy_{name}"
    make_clip(source, **KINDS[name])
    writer = copy(source, target, strict=True)
    before, old = frames_of(source)
    after, new = frames_of(target)
    assert (new.height, new.width) == (2 * old.height, 2 * old.width)
    assert writer.frames_written == len(after) == len(before)
    assert [number_of(frame.image) for frame in after] == list(range(len(before)))
    assert seconds(after) == seconds(before)
    assert writer.shift_seconds == 0
    assert [f.duration * f.time_base for f in after[:-1]] == [f.duration * f.time_base for f in before[:-1]]
    assert new.colour == old.colour
    assert new.bit_depth == old.bit_depth
    assert new.hdr == old.hdr
    assert new.display_matrix == old.display_matrix
    assert new.sample_aspect_ratio == old.sample_aspect_ratio
    assert new.frame_rate == old.frame_rate or "variable" in name
    assert [c.metadata["title"] for c in new.chapters] == [c.metadata["title"] for c in old.chapters]
    assert [c.start_seconds for c in new.chapters] == [c.start_seconds for c in old.chapters]
    assert new.metadata.get("title") == old.metadata.get("title")
    assert new.metadata.get("CUSTOM") == old.metadata.get("CUSTOM")
    kinds = ("audio", "subtitle", "attachment")
    others = [[(s.kind, s.language, s.title, s.codec) for s in i.streams if s.kind in kinds] for i in (old, new)]
    assert others[0] == others[1]
    assert [s.is_cover for s in new.streams].count(True) == [s.is_cover for s in old.streams].count(True)
    for kind in ("audio", "subtitle"):
        assert packet_payloads(target, kind) == packet_payloads(source, kind)
        assert packet_times(target, kind) == packet_times(source, kind)
    assert writer.warnings == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"copy_{name}"])


@pytest.mark.parametrize("last_duration", [3600, 9000, 450])
def test_the_last_frame_keeps_its_duration(tmp_path: Path, last_duration: int) -> None:
    info = VideoInfo("made", 36, 64, TICK, Fraction(25), Colour(6, False))
    pts = [0, 3600, 7200, 30000, 33600, 34000]
    for codec in ("libx264", "libx265", "libsvtav1"):
        target = tmp_path / f"{codec}.mp4"
        options = EncoderOptions(codec=codec, preset="10" if codec == "libsvtav1" else "medium")
        with VideoWriter(target, like=info, scale=2, encoder=options) as writer:
            for time, following in zip(pts, [*pts[1:], pts[-1] + last_duration], strict=True):
                writer.write(Frame(np.full((72, 128, 3), 0.4, np.float32), time, TICK, following - time))
        with av.open(str(target)) as container:
            stream = container.streams.video[0]
            assert stream.duration * Fraction(stream.time_base.numerator, stream.time_base.denominator) == Fraction(
                pts[-1] + last_duration, 90000
            )
        frames, _ = frames_of(target)
        assert seconds(frames) == [time * TICK for time in pts]
        assert frames[-1].duration * frames[-1].time_base == last_duration * TICK


@pytest.mark.parametrize("matrix", [6, 1, 9])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "yuv444p"])
def test_colours_survive_a_whole_run(tmp_path: Path, matrix: int, full_range: bool, pix_fmt: str) -> None:
    """Plain enlargement with a lossless encoder: flat patches come back within half a code of their depth."""
    info = VideoInfo("made", 16, 24, Fraction(1, 25), Fraction(25), Colour(matrix, full_range, 1, 1))
    random = np.random.default_rng(7)
    patches = 0.1 + 0.8 * random.random((8, 3), np.float32)
    image = np.broadcast_to(patches.reshape(1, 8, 1, 3), (64, 8, 12, 3)).reshape(64, 96, 3)
    lossless = EncoderOptions(codec="ffv1", pix_fmt=pix_fmt)
    with VideoWriter(tmp_path / "a.mkv", like=info, encoder=lossless) as writer:
        writer.write(Frame(np.ascontiguousarray(image), 0, Fraction(1, 25), 1))
    frames, read = frames_of(tmp_path / "a.mkv")
    assert (read.colour.matrix, read.colour.full_range) == (matrix, full_range)
    middles = frames[0].image[32, 6::12]
    largest_code = 255 if "10" not in pix_fmt else 1023
    assert np.abs(middles - patches).max() * largest_code < 2.1


def test_the_pixels_match_the_tags_for_another_decoder(tmp_path: Path) -> None:
    """A saturated red in BT.709 and in BT.601 is the same red when swscale decodes it by the tags."""
    for matrix in (6, 1):
        info = VideoInfo("made", 16, 16, Fraction(1, 25), Fraction(25), Colour(matrix, False, matrix, matrix))
        target = tmp_path / f"{matrix}.mp4"
        with VideoWriter(target, like=info, encoder=EncoderOptions(crf=4)) as writer:
            writer.write(
                Frame(np.broadcast_to(np.array([0.8, 0.1, 0.2], np.float32), (64, 64, 3)).copy(), 0, info.time_base)
            )
        with av.open(str(target)) as container:
            frame = next(container.decode(video=0))
            assert int(frame.colorspace) == matrix
            assert np.abs(frame.to_ndarray(format="rgb24")[32, 32] / 255 - [0.8, 0.1, 0.2]).max() < 0.02


def test_streams_that_do_not_fit_are_converted_or_named(tmp_path: Path) -> None:
    source = tmp_path / "source.mkv"
    make_clip(source, audio=["aac", "flac"], subtitles=[(0.1, 0.3, "words")], attachment=FONT)
    writer = copy(source, tmp_path / "copy.mov")
    _, info = frames_of(tmp_path / "copy.mov")
    assert [s.codec for s in info.streams] == ["h264", "aac", "aac", "mov_text"]
    assert [s.language for s in info.streams][1:] == ["eng", "fra", "eng"]
    assert writer.warnings == [
        "audio stream 2 (flac, fra) becomes aac: mov cannot hold it as it is",
        "attachment font.ttf is left out: mov cannot hold it",
    ]
    assert packet_payloads(tmp_path / "copy.mov", "audio")[0] == packet_payloads(source, "audio")[0]
    assert abs(packet_times(tmp_path / "copy.mov", "subtitle")[0][-1] - Fraction(1, 10)) <= Fraction(1, 1000) or (
        Fraction(1, 10) in packet_times(tmp_path / "copy.mov", "subtitle")[0]
    )
    with pytest.raises(OptionError, match=r"strict: .* would lose something: audio stream 2"):
        copy(source, tmp_path / "strict.mov", strict=True)
    assert not (tmp_path / "strict.mov").exists()


def test_text_subtitles_go_both_ways(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mkv", subtitles=[(0.1, 0.3, "words {\\i1}leaning{\\i0}")])
    copy(tmp_path / "a.mkv", tmp_path / "b.mp4", strict=True)
    copy(tmp_path / "b.mp4", tmp_path / "c.mkv", strict=True)
    assert packet_payloads(tmp_path / "c.mkv", "subtitle") == packet_payloads(tmp_path / "a.mkv", "subtitle")
    assert packet_times(tmp_path / "c.mkv", "subtitle") == [[Fraction(1, 10)]]


def test_sound_can_be_converted_or_left_out(tmp_path: Path) -> None:
    source = tmp_path / "a.mkv"
    make_clip(source, count=50, audio=["flac"], audio_start=Fraction(1, 4))
    copy(source, tmp_path / "aac.mp4", audio="aac")
    _, info = frames_of(tmp_path / "aac.mp4")
    assert [s.codec for s in info.streams] == ["h264", "aac"]
    sound = packet_times(tmp_path / "aac.mp4", "audio")[0]
    assert abs(sound[1] - Fraction(1, 4)) < Fraction(1, 1000)
    assert abs(len(sound) * Fraction(1024, 48000) - 2) < Fraction(1, 10)
    writer = copy(source, tmp_path / "none.mp4", audio="none", strict=True)
    assert [s.codec for s in frames_of(tmp_path / "none.mp4")[1].streams] == ["h264"]
    assert writer.warnings == []
    with pytest.raises(OptionError, match="audio must be one of copy, aac, none, got 'mp3'"):
        copy(source, tmp_path / "mp3.mp4", audio="mp3")


def test_sound_primed_before_zero_stays_with_the_video(tmp_path: Path) -> None:
    """AAC of an MP4 starts at -21 ms; Matroska before FFmpeg 9 moves everything instead."""
    make_clip(tmp_path / "a.mp4", audio=["aac"])
    writer = copy(tmp_path / "a.mp4", tmp_path / "b.mkv")
    before, _ = frames_of(tmp_path / "a.mp4")
    after, _ = frames_of(tmp_path / "b.mkv")
    moved = {later - earlier for earlier, later in zip(seconds(before), seconds(after), strict=True)}
    assert moved == {writer.shift_seconds}
    assert writer.shift_seconds in (0, Fraction(21, 1000))
    sound = packet_times(tmp_path / "b.mkv", "audio")[0][0] - packet_times(tmp_path / "a.mp4", "audio")[0][0]
    assert abs(sound - writer.shift_seconds) < Fraction(1, 1000)


def test_a_transport_stream_starts_near_zero_with_its_sound(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.ts", audio=["aac"])
    writer = copy(tmp_path / "a.ts", tmp_path / "b.mp4", strict=True)
    before, old = frames_of(tmp_path / "a.ts")
    after, _ = frames_of(tmp_path / "b.mp4")
    assert writer.shift_seconds < 0
    assert seconds(after) == [time + writer.shift_seconds for time in seconds(before)]
    sounds = [packet_times(tmp_path / name, "audio")[0][0] for name in ("a.ts", "b.mp4")]
    assert abs(sounds[1] - sounds[0] - writer.shift_seconds) < Fraction(1, 10000)
    assert old.start_seconds > 0


def test_a_part_takes_its_sound_and_chapters_along(tmp_path: Path) -> None:
    chapters = [(0, 2, "before"), (2, 5, "across"), (5, 8, "after")]
    make_clip(tmp_path / "a.mp4", count=200, audio=["aac"], chapters=chapters, subtitles=[(1, 3.5, "long")])
    writer = copy(tmp_path / "a.mp4", tmp_path / "b.mp4", read={"start_seconds": 3, "end_seconds": 4})
    frames, info = frames_of(tmp_path / "b.mp4")
    assert [number_of(frame.image) for frame in frames] == list(range(75, 100))
    assert seconds(frames)[0] == 0
    assert writer.shift_seconds == -3
    sound = packet_times(tmp_path / "b.mp4", "audio")[0]
    assert 0 <= sound[0] < Fraction(1, 40)
    assert Fraction(95, 100) < sound[-1] < 1
    assert [(c.metadata["title"], float(c.start_seconds)) for c in info.chapters] == [("across", 0.0)]
    assert packet_times(tmp_path / "b.mp4", "subtitle")[0][0] == 0


def test_rotation_is_applied_where_it_cannot_be_kept(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", rotation=90, tags=(1, 1, 1, 1))
    copy(tmp_path / "a.mp4", tmp_path / "b.nut", scale=1)
    (upright, *_), info = frames_of(tmp_path / "b.nut", colour="bt709")
    (lying, *_), _ = frames_of(tmp_path / "a.mp4")
    assert info.display_matrix is None
    assert np.abs(upright.image - np.rot90(lying.image)).mean() < 0.03


def test_aspect_follows_an_uneven_size(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", height=90, width=160)
    with (
        VideoReader(tmp_path / "a.mp4") as reader,
        VideoWriter(tmp_path / "b.mp4", like=reader.info, size=(180, 640), encoder=FAST) as writer,
    ):
        for frame in reader:
            writer.write(Frame(frame.image.repeat(2, 0).repeat(4, 1), frame.pts, frame.time_base, frame.duration))
    assert frames_of(tmp_path / "b.mp4")[1].sample_aspect_ratio == Fraction(1, 2)


@pytest.mark.parametrize(
    ("name", "options", "codec", "bits"),
    [
        ("a.mkv", EncoderOptions(codec="x265", preset="ultrafast", crf=20), "hevc", 10),
        ("a.mp4", EncoderOptions(codec="svtav1", preset="10", crf=30), "av1", 10),
        ("a.mov", EncoderOptions(codec="prores"), "prores", 10),
        ("a.mkv", EncoderOptions(codec="ffv1"), "ffv1", 10),
        ("a.webm", EncoderOptions(), "vp9", 8),
        ("a.nut", EncoderOptions(codec="raw"), "rawvideo", 10),
        ("a.y4m", EncoderOptions(), "rawvideo", 10),
        ("a.mp4", EncoderOptions(extra={"tune": "film", "x264-params": "ref=2"}), "h264", 10),
        ("a.ts", EncoderOptions(pix_fmt="yuv420p"), "h264", 8),
    ],
)
def test_other_encoders_keep_frames_and_times(
    tmp_path: Path, name: str, options: EncoderOptions, codec: str, bits: int
) -> None:
    make_clip(tmp_path / "s.mkv", codec="ffv1", pix_fmt="yuv420p10le", tags=(1, 1, 1, 1))
    copy(tmp_path / "s.mkv", tmp_path / name, encoder=options)
    frames, info = frames_of(tmp_path / name)
    assert [number_of(frame.image) for frame in frames] == list(range(12))
    assert [round((time - seconds(frames)[0]) * 25) for time in seconds(frames)] == list(range(12))
    assert info.codec == codec
    assert info.bit_depth == bits


def test_hevc_in_mp4_has_the_tag_that_players_know(tmp_path: Path) -> None:
    make_clip(tmp_path / "s.mp4", count=2)
    copy(tmp_path / "s.mp4", tmp_path / "a.mp4", encoder=EncoderOptions(codec="x265", preset="ultrafast"))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


def test_hdr_metadata_reaches_every_encoder_that_takes_it(tmp_path: Path) -> None:
    make_clip(tmp_path / "s.mp4", **KINDS["hdr.mp4"])
    _, old = frames_of(tmp_path / "s.mp4")
    for codec, preset in (("x265", "ultrafast"), ("svtav1", "10")):
        target = tmp_path / f"{codec}.mp4"
        copy(tmp_path / "s.mp4", target, encoder=EncoderOptions(codec=codec, preset=preset), strict=True)
        _, new = frames_of(target)
        assert new.hdr is not None
        assert old.hdr is not None
        assert new.hdr.content_light == old.hdr.content_light
        assert new.hdr.primaries == pytest.approx(old.hdr.primaries, abs=1e-4)
        assert new.colour == old.colour
    writer = copy(tmp_path / "s.mp4", tmp_path / "f.mkv", encoder=EncoderOptions(codec="ffv1"))
    assert writer.warnings == ["the HDR mastering metadata is lost: ffv1 does not take it"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.avi", {}, r"'a\.avi' has no suffix of a video container; use one of \.mp4"),
        ("a.mp4", {"encoder": EncoderOptions(codec="cinepak")}, "codec 'cinepak' is not known"),
        ("a.webm", {"encoder": EncoderOptions(codec="x264")}, "webm cannot hold libx264; it holds vp9, av1"),
        ("a.mp4", {"encoder": EncoderOptions(crf=80)}, "libx264 takes a quality from 0 to 51, got crf=80"),
        ("a.mkv", {"encoder": EncoderOptions(codec="ffv1", crf=3)}, "ffv1 has no constant quality; leave out crf=3"),
        ("a.mkv", {"encoder": EncoderOptions(codec="ffv1", preset="x")}, "ffv1 has no preset; leave out preset='x'"),
        ("a.mp4", {"encoder": EncoderOptions(preset="warp")}, "libx264 does not take preset='warp'"),
        ("a.mp4", {"encoder": EncoderOptions(pix_fmt="rgb24")}, "libx264 does not take pixel format 'rgb24'"),
        ("a.mp4", {"encoder": EncoderOptions(extra={"crff": "12"})}, "libx264 has no option crff"),
        (
            "a.mp4",
            {"encoder": EncoderOptions(codec="h264_nvenc")},
            "h264_nvenc cannot be used here|h264_nvenc is not in",
        ),
        ("a.mp4", {"container": "laserdisc"}, "container 'laserdisc' is not known"),
        ("-", {"container": "mp4"}, "mp4 cannot be written to a pipe; use one of matroska"),
        ("a_%03d.jpg", {}, r"image sequences are written as \.png"),
        ("a_%03d.png", {"encoder": EncoderOptions(crf=3)}, "do not apply to an image sequence"),
        ("a.mp4", {"size": (0, 4)}, "the output size must be at least 1x1, got 4x0"),
        ("source.mp4", {"overwrite": True}, "source.mp4 is the source itself; choose another output"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_work(
    tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    make_clip(tmp_path / "source.mp4", count=2)
    with VideoReader(tmp_path / "source.mp4") as reader, pytest.raises(OptionError, match=message):
        VideoWriter("-" if name == "-" else tmp_path / name, like=reader.info, scale=2, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["source.mp4"]


def test_odd_sizes_need_a_format_without_shared_chroma(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mkv", height=91, width=161, codec="ffv1")
    copy(tmp_path / "a.mkv", tmp_path / "b.mp4", scale=1)
    frames, info = frames_of(tmp_path / "b.mp4")
    assert (info.pixel_format, frames[0].image.shape) == ("yuv444p", (91, 161, 3))
    with pytest.raises(OptionError, match="libx264 cannot encode 161x91 as yuv420p; use yuv444p or an even size"):
        copy(tmp_path / "a.mkv", tmp_path / "c.mp4", scale=1, encoder=EncoderOptions(pix_fmt="yuv420p"))


def test_an_existing_target_is_kept_unless_asked(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", count=2)
    (tmp_path / "b.mp4").write_text("precious")
    with pytest.raises(OutputExistsError, match=r"b\.mp4 exists; choose another name or overwrite it"):
        copy(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert (tmp_path / "b.mp4").read_text() == "precious"
    copy(tmp_path / "a.mp4", tmp_path / "b.mp4", overwrite=True)
    assert len(frames_of(tmp_path / "b.mp4")[0]) == 2


def test_a_failed_run_leaves_nothing(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", audio=["aac"])
    with (
        VideoReader(tmp_path / "a.mp4") as reader,
        pytest.raises(RuntimeError, match="model"),
        VideoWriter(tmp_path / "b.mp4", like=reader.info, scale=2, encoder=FAST) as writer,
    ):
        for number, frame in enumerate(reader):
            if number == 5:
                assert len(list(tmp_path.iterdir())) == 2
                raise RuntimeError("model")
            writer.write(enlarged(frame, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_no_frame_is_an_error(tmp_path: Path) -> None:
    info = VideoInfo("made", 4, 4, Fraction(1, 25), Fraction(25), Colour(6, False))
    with (
        pytest.raises(VideoWriteError, match=r"b\.mp4 was not written: there was no frame"),
        VideoWriter(tmp_path / "b.mp4", like=info, encoder=FAST),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(VideoWriteError, match=r"folder .*absent does not exist; make it first"):
        VideoWriter(tmp_path / "absent" / "b.mp4", like=info)


def test_frames_that_do_not_belong_are_refused(tmp_path: Path) -> None:
    base = Fraction(1, 25)
    info = VideoInfo("made", 8, 8, base, Fraction(25), Colour(6, False))
    image = np.zeros((32, 32, 3), np.float32)
    with (
        pytest.raises(ValueError, match=r"timestamps must rise, got pts 3 after 3"),
        VideoWriter(tmp_path / "b.mp4", like=info, encoder=FAST) as writer,
    ):
        writer.write(Frame(image, 3, base))
        writer.write(Frame(image, 3, base))
    with (
        pytest.raises(ValueError, match=r"frames must be 32x32, got 16x32"),
        VideoWriter(tmp_path / "b.mp4", like=info, encoder=FAST) as writer,
    ):
        writer.write(Frame(image[:, :16], 0, base))
    with (
        pytest.raises(ValueError, match=r"frames must have time_base 1/25, got 1/24"),
        VideoWriter(tmp_path / "b.mp4", like=info, encoder=FAST) as writer,
    ):
        writer.write(Frame(image, 0, Fraction(1, 24)))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    info = VideoInfo("made", 64, 64, Fraction(1, 25), Fraction(25), Colour(6, False))
    with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123
        saved, sys.stdout = sys.stdout, SimpleNamespace(buffer=full)  # type: ignore[assignment]
        try:
            with (
                pytest.raises(VideoWriteError, match="- cannot be written"),
                VideoWriter("-", like=info, encoder=FAST) as writer,
            ):
                for number in range(100):
                    noise = np.random.default_rng(number).random((256, 256, 3), np.float32)
                    writer.write(Frame(noise, number, Fraction(1, 25)))
        finally:
            sys.stdout = saved


@pytest.mark.parametrize("bits", [8, 10])
def test_image_sequences_are_written_whole(tmp_path: Path, bits: int) -> None:
    make_clip(tmp_path / "a.mkv", codec="ffv1", pix_fmt="yuv420p" if bits == 8 else "yuv420p10le", rotation=-90)
    pattern = tmp_path / "frames" / "%04d.png"
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "0099.png").write_text("old")
    with pytest.raises(OutputExistsError, match=r"0099\.png exists"):
        copy(tmp_path / "a.mkv", pattern)
    copy(tmp_path / "a.mkv", pattern, scale=1, overwrite=True)
    assert sorted(p.name for p in pattern.parent.iterdir()) == [f"{k:04d}.png" for k in range(1, 13)]
    before, _ = frames_of(tmp_path / "a.mkv")
    after, info = frames_of(pattern)
    assert info.bit_depth == (8 if bits == 8 else 16)
    assert np.abs(after[3].image - np.rot90(before[3].image, -1)).max() <= 0.51 / (255 if bits == 8 else 65535)


@pytest.mark.parametrize(("container", "codec"), [(None, "h264"), ("nut", "h264"), ("y4m", "rawvideo")])
def test_pipes_lead_in_and_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str | None, codec: str
) -> None:
    make_clip(tmp_path / "a.mkv", count=60, audio=["aac"], tags=(1, 1, 1, 1))
    incoming, feeding = os.pipe()
    outgoing, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(feeding, "wb") as pipe:
            pipe.write((tmp_path / "a.mkv").read_bytes())

    def drain() -> None:
        with os.fdopen(outgoing, "rb") as pipe:
            (tmp_path / "out").write_bytes(pipe.read())

    threads = [threading.Thread(target=work) for work in (feed, drain)]
    for thread in threads:
        thread.start()
    with os.fdopen(incoming, "rb") as stdin, os.fdopen(writing, "wb") as stdout:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stdin))
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=stdout))
        with VideoReader("-") as reader:
            options = {"scale": 1, "container": container, "encoder": None if container == "y4m" else FAST}
            with VideoWriter("-", like=reader.info, source=reader, **options) as writer:
                for frame in reader:
                    writer.write(frame)
        monkeypatch.undo()
    for thread in threads:
        thread.join()
    frames, info = frames_of(tmp_path / "out")
    assert [number_of(frame.image) for frame in frames] == list(range(60))
    assert info.codec == codec
    if container != "y4m":
        assert packet_payloads(tmp_path / "out", "audio") == packet_payloads(tmp_path / "a.mkv", "audio")
    else:
        assert "audio stream 1 (aac, eng) is left out: yuv4mpegpipe holds no sound" in writer.warnings


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    peaks = {}
    for count in (100, 400):
        make_clip(tmp_path / f"{count}.mp4", count=count, audio=["aac"])
        peaks[count] = _peak_kilobytes(tmp_path / f"{count}.mp4")
    assert peaks[400] - peaks[100] < 8_000


def _peak_kilobytes(path: Path) -> int:
    code = (
        "from fmanet_cli.video.read.reader import VideoReader\n"
        "from fmanet_cli.video.write.writer import VideoWriter\n"
        "with VideoReader(sys.argv[1]) as reader:\n"
        "    with VideoWriter(sys.argv[1] + '.mkv', like=reader.info, scale=1) as writer:\n"
        "        for frame in reader: writer.write(frame)"
    )
    return peak_kilobytes(code, str(path))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p12le"])
def test_planes_are_written_as_the_rgb_they_were_made_of(tmp_path: Path, pix_fmt: str) -> None:
    make_clip(tmp_path / "a.mp4", count=3)
    frames, info = frames_of(tmp_path / "a.mp4")
    encoder = EncoderOptions(codec="libx265", pix_fmt=pix_fmt)
    with (
        VideoWriter(tmp_path / "rgb.mp4", like=info, scale=1, encoder=encoder) as rgb,
        VideoWriter(tmp_path / "coded.mp4", like=info, scale=1, encoder=encoder) as coded,
    ):
        wanted = coded.plane_format
        assert wanted is not None
        for frame in frames:
            rgb.write(frame)
            planes = rgb_to_planes(
                frame.image,
                colour=wanted.colour,
                bits=wanted.bits,
                horizontal_shift=wanted.horizontal_shift,
                vertical_shift=wanted.vertical_shift,
            )
            coded.write(PlanarFrame(planes, frame.pts, frame.time_base, frame.duration))
    assert packet_payloads(tmp_path / "coded.mp4", "video") == packet_payloads(tmp_path / "rgb.mp4", "video")


def test_planes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", count=1, rotation=90)
    (frame,), info = frames_of(tmp_path / "a.mp4")
    height, width = frame.size
    luma, chroma = np.zeros((height, width), np.uint8), np.zeros((height // 2, width // 2), np.uint8)
    with VideoWriter(tmp_path / "b.mp4", like=info, scale=1) as writer:
        for planes in ((luma, luma, luma), (luma, chroma, chroma.astype(np.uint16))):
            with pytest.raises(ValueError, match="planes must be"):
                writer.write(PlanarFrame(planes, 0, frame.time_base))
        writer.write(PlanarFrame((luma, chroma, chroma), 0, frame.time_base))
    # Neither a frame that has to be turned nor one of RGB samples can be taken as planes.
    for name, encoder in (("frames/%03d.png", None), ("c.nut", FAST)):
        (tmp_path / "frames").mkdir(exist_ok=True)
        with VideoWriter(tmp_path / name, like=info, scale=1, encoder=encoder) as writer:
            assert writer.plane_format is None
            with pytest.raises(ValueError, match=r"takes RGB, got planes"):
                writer.write(PlanarFrame((luma, chroma, chroma), 0, frame.time_base))
            writer.write(frame)
