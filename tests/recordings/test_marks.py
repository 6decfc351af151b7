"""What recordings say beside their pixels is seen, named before the run, and refused where nothing may be lost."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmanet_cli.errors import OptionError, VerificationError, VideoReadError
from fmanet_cli.restore.job import restore_video
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.verify.compare import verify
from fmanet_cli.verify.result import Verdict
from fmanet_cli.video.contents import probe
from fmanet_cli.video.frames import Crop
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.codecs import EncoderOptions
from support.fuzz_runs import plain_restorer
from support.odd_clips import (
    CAPTIONS,
    HDR10_PLUS,
    add_to_sample_entry,
    captions_of,
    clean_aperture,
    dolby_vision,
    joined,
    numbered_captions,
    record,
    record_with_sei,
    spherical,
)

FAST = EncoderOptions(preset="ultrafast")


def marked(path: Path, boxes: bytes) -> Path:
    record(path, count=4)
    add_to_sample_entry(path, boxes)
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
@pytest.mark.parametrize(("profile", "compatibility"), [(8, 4), (8, 1), (7, 6), (8, 2)])
def test_dolby_vision_with_a_usual_base_layer_is_named(
    tmp_path: Path, name: str, profile: int, compatibility: int
) -> None:
    path = marked(tmp_path / name, dolby_vision(profile, compatibility))
    loss = f"Dolby Vision metadata are lost: profile {profile}.{compatibility}"
    assert probe(path).losses.lost == (loss,)
    report = restore_video(path, tmp_path / "b.mkv", plain_restorer(), settings=RestoreSettings(encoder=FAST))
    assert loss in report.warnings
    rows = {row.what: row.verdict for row in verify(path, tmp_path / "b.mkv").rows}
    assert rows["Dolby Vision metadata"] is Verdict.LOST
    strict = RestoreSettings(encoder=FAST, strict=True)
    with pytest.raises(OptionError, match=f"strict: .* would lose something: {loss}"):
        restore_video(path, tmp_path / "c.mkv", plain_restorer(), settings=strict)


@pytest.mark.parametrize("profile", [5, 8, 10])
def test_dolby_vision_without_a_base_layer_is_refused_unless_asked_for(tmp_path: Path, profile: int) -> None:
    path = marked(tmp_path / "a.mp4", dolby_vision(profile, 0))
    refusal = f"is Dolby Vision profile {profile}, whose colours come out green and purple"
    with pytest.raises(VideoReadError, match=refusal):
        restore_video(path, tmp_path / "b.mp4", plain_restorer(), settings=RestoreSettings(encoder=FAST))
    assert refusal in probe(path).losses.refusal
    asked = RestoreSettings(encoder=FAST, dolby_vision="ignore")
    report = restore_video(path, tmp_path / "b.mp4", plain_restorer(), settings=asked)
    assert f"Dolby Vision metadata are lost: profile {profile}.0" in report.warnings
    assert not verify(path, tmp_path / "b.mp4").differences


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts", ".flv"])
def test_closed_captions_are_seen(tmp_path: Path, suffix: str) -> None:
    record_with_sei(tmp_path / f"a{suffix}", CAPTIONS)
    with VideoReader(tmp_path / f"a{suffix}") as reader:
        assert reader.info.marks.captions
        assert len(list(reader)) == 6
    assert reader.warnings == []


@pytest.mark.parametrize(
    ("name", "codec", "changes"),
    [
        ("b.mp4", "libx264", {}),
        ("b.mkv", "libx264", {"segment_frames": 5}),
        ("b.ts", "libx264", {"segment_frames": 0}),
        ("b.mp4", "libx265", {"scale": 2}),
        ("b.mkv", "libx264", {"deinterlace": "bwdif"}),
        ("b.mkv", "libx265", {"start_seconds": 0.12}),
    ],
)
def test_every_frame_keeps_its_captions(tmp_path: Path, name: str, codec: str, changes: dict[str, Any]) -> None:
    record_with_sei(tmp_path / "a.mp4", numbered_captions, count=12)
    settings = RestoreSettings(encoder=replace(FAST, codec=codec, preset="faster"), strict=True, **changes)
    report = restore_video(tmp_path / "a.mp4", tmp_path / name, plain_restorer(), settings=settings)
    first = 3 if "start_seconds" in changes else 0
    assert captions_of(tmp_path / name) == [numbered_captions(number)[-4:-1] for number in range(first, 12)]
    rows = {row.what: row.verdict for row in report.verification.rows}
    assert rows["closed captions"] is Verdict.SAME


def test_frames_are_the_same_with_and_without_captions(tmp_path: Path) -> None:
    record_with_sei(tmp_path / "a.mp4", numbered_captions)
    record_with_sei(tmp_path / "plain.mp4", b"\xb5\0\0")
    images = []
    for source in ("a.mp4", "plain.mp4"):
        restore_video(tmp_path / source, tmp_path / "b.mkv", plain_restorer(), settings=RestoreSettings(overwrite=True))
        with VideoReader(tmp_path / "b.mkv") as reader:
            images.append([frame.image for frame in reader])
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize("codec", ["ffv1", "libvpx-vp9"])
def test_captions_that_an_encoder_cannot_write_are_lost_with_a_word(tmp_path: Path, codec: str) -> None:
    record_with_sei(tmp_path / "a.mp4", CAPTIONS, count=3)
    settings = RestoreSettings(encoder=EncoderOptions(codec=codec))
    report = restore_video(tmp_path / "a.mp4", tmp_path / "b.mkv", plain_restorer(), settings=settings)
    assert "closed captions are lost" in report.warnings
    with pytest.raises(OptionError, match=r"strict: .* closed captions are lost"):
        restore_video(tmp_path / "a.mp4", tmp_path / "c.mkv", plain_restorer(), settings=replace(settings, strict=True))


@pytest.mark.parametrize(
    ("codec", "words"), [("libx264", []), ("ffv1", ["closed captions begin at 0.20 s and are lost"])]
)
def test_captions_that_begin_later(tmp_path: Path, codec: str, words: list[str]) -> None:
    record_with_sei(tmp_path / "a.mp4", numbered_captions, count=8, first=5)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert not reader.info.marks.captions
        list(reader)
    assert reader.late_marks == {"closed captions": "at 0.20 s"}
    settings = RestoreSettings(encoder=EncoderOptions(codec=codec))
    report = restore_video(tmp_path / "a.mp4", tmp_path / "b.mkv", plain_restorer(), settings=settings)
    assert [text for text in report.warnings if "captions" in text] == words
    kept = [b""] * 5 + [numbered_captions(number)[-4:-1] for number in (5, 6, 7)]
    assert captions_of(tmp_path / "b.mkv") == ([b""] * 8 if words else kept)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_hdr10_plus_is_seen(tmp_path: Path, suffix: str) -> None:
    record_with_sei(tmp_path / f"a{suffix}", HDR10_PLUS, codec="libx265")
    with VideoReader(tmp_path / f"a{suffix}") as reader:
        assert reader.info.marks.named() == {"HDR10+ metadata": "there"}


@pytest.mark.parametrize(("stereo", "said"), [(0, ""), (1, "top and bottom"), (2, "side by side")])
def test_marks_of_spherical_video_are_seen(tmp_path: Path, stereo: int, said: str) -> None:
    path = marked(tmp_path / "a.mp4", spherical(stereo))
    with VideoReader(path) as reader:
        assert (reader.info.marks.spherical, reader.info.marks.stereo) == ("equirectangular", said)


def mapping_of(path: Path) -> tuple[int, ...]:
    with VideoReader(path) as reader:
        return reader.info.marks.mapping


@pytest.mark.parametrize("kind", ["equirectangular", "tiled", "cubemap"])
@pytest.mark.parametrize(("name", "codec"), [("b.mp4", "libx265"), ("b.mkv", "libsvtav1"), ("b.webm", "libvpx-vp9")])
def test_marks_of_spherical_video_are_kept(tmp_path: Path, kind: str, name: str, codec: str) -> None:
    path = marked(tmp_path / "a.mp4", spherical(kind=kind, pose=(90 << 16, -30 << 16, 1 << 16)))
    settings = RestoreSettings(encoder=EncoderOptions(codec=codec), strict=True)
    report = restore_video(path, tmp_path / name, plain_restorer(), settings=settings)
    assert {row.what: row.verdict for row in report.verification.rows}["360 degree marks"] is Verdict.SAME
    wanted = mapping_of(path)
    assert wanted[1:4] == (90 << 16, -30 << 16, 1 << 16)
    if name == "b.mp4":
        # FFmpeg writes Apple's marks of whole spheres beside, which say no direction, and reads those.
        content = (tmp_path / name).read_bytes()
        assert struct.unpack_from(">3i", content, content.index(b"prhd") + 8) == wanted[1:4]
        assert mapping_of(tmp_path / name)[4:] == wanted[4:]
    else:
        assert mapping_of(tmp_path / name) == wanted


@pytest.mark.parametrize(
    ("name", "changes"),
    [("b.mkv", {"segment_frames": 0}), ("b.mkv", {"encoder": EncoderOptions(codec="ffv1")}), ("b.mov", {})],
)
def test_marks_of_spherical_video_that_cannot_be_kept_are_named(
    tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    path = marked(tmp_path / "a.mp4", spherical())
    report = restore_video(path, tmp_path / name, plain_restorer(), settings=RestoreSettings(**changes))
    assert "360 degree marks are lost: equirectangular" in report.warnings
    assert not mapping_of(tmp_path / name)


@pytest.mark.parametrize(("stereo", "said"), [(1, "top and bottom"), (2, "side by side")])
@pytest.mark.parametrize(("name", "codec"), [("b.mp4", "libx264"), ("b.ts", "libx264"), ("b.mkv", "libx265")])
def test_stereo_marks_are_kept(tmp_path: Path, stereo: int, said: str, name: str, codec: str) -> None:
    path = marked(tmp_path / "a.mp4", spherical(stereo))
    settings = RestoreSettings(encoder=replace(FAST, codec=codec), segment_frames=2)
    report = restore_video(path, tmp_path / name, plain_restorer(), settings=settings)
    assert not [text for text in report.warnings if "stereo" in text]
    with VideoReader(tmp_path / name) as reader:
        assert reader.info.marks.stereo == said


def test_stereo_marks_that_only_mp4_would_hold_are_named(tmp_path: Path) -> None:
    path = marked(tmp_path / "a.mp4", spherical(1))
    settings = RestoreSettings(encoder=replace(FAST, codec="libx265"))
    report = restore_video(path, tmp_path / "b.mp4", plain_restorer(), settings=settings)
    assert [text for text in report.warnings if "marks" in text] == ["stereo marks are lost: top and bottom"]
    assert mapping_of(tmp_path / "b.mp4") == mapping_of(path)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "checkerboard"),
        (1, "interleaved columns"),
        (2, "interleaved lines"),
        (3, "side by side"),
        (5, "frame alternate"),
    ],
)
def test_stereo_marks_of_the_frames_are_kept(tmp_path: Path, number: int, said: str) -> None:
    record(tmp_path / "a.mkv", count=3, options={"x264-params": f"frame-packing={number}"})
    settings = RestoreSettings(encoder=FAST, strict=True)
    restore_video(tmp_path / "a.mkv", tmp_path / "b.mp4", plain_restorer(), settings=settings)
    with VideoReader(tmp_path / "a.mkv") as before, VideoReader(tmp_path / "b.mp4") as after:
        assert before.info.marks.stereo == after.info.marks.stereo == said


def test_a_promised_mark_that_is_missing_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = marked(tmp_path / "a.mp4", spherical())
    monkeypatch.setattr("fmanet_cli.video.write.projection._boxes", lambda *_, **__: b"")
    with pytest.raises(VerificationError, match="360 degree marks equirectangular became none"):
        restore_video(path, tmp_path / "b.mp4", plain_restorer(), settings=RestoreSettings(encoder=FAST))


def test_plain_recordings_have_no_marks(tmp_path: Path) -> None:
    record(tmp_path / "a.mp4")
    assert probe(tmp_path / "a.mp4").losses.lost == ()


@pytest.mark.parametrize(
    ("aperture", "crop"),
    [
        ((56, 40, 0, 0), Crop(top=4, bottom=4, left=4, right=4)),
        ((56, 40, 2, -3), Crop(top=1, bottom=7, left=6, right=2)),
        ((64, 46, 0, 1), Crop(top=2)),
    ],
)
def test_only_the_clean_aperture_is_restored(tmp_path: Path, aperture: tuple[int, int, int, int], crop: Crop) -> None:
    record(tmp_path / "whole.mp4", count=4)
    path = marked(tmp_path / "a.mp4", clean_aperture(*aperture))
    with VideoReader(tmp_path / "whole.mp4") as whole, VideoReader(path) as reader:
        assert reader.info.crop == crop
        assert (reader.info.width, reader.info.height) == aperture[:2]
        for before, after in zip(whole, reader, strict=True):
            rows = slice(crop.top, 48 - crop.bottom)
            np.testing.assert_array_equal(after.image, before.image[rows, crop.left : 64 - crop.right])
    restore_video(path, tmp_path / "b.mp4", plain_restorer(), settings=RestoreSettings(encoder=FAST))
    assert not verify(path, tmp_path / "b.mp4").differences


def test_a_pixel_shape_that_changes_is_named_with_its_time(tmp_path: Path) -> None:
    for name, shape, first in (("a.ts", Fraction(16, 15), 0), ("b.ts", Fraction(64, 45), 5)):
        record(tmp_path / name, count=5, pts=range(first, first + 5), options={"bf": "0"}, aspect=shape)
    joined(tmp_path / "c.ts", tmp_path / "a.ts", tmp_path / "b.ts")
    with VideoReader(tmp_path / "c.ts", on_error="continue") as reader:
        assert reader.info.sample_aspect_ratio == Fraction(16, 15)
        assert len(list(reader)) == 10
    assert reader.warnings == [
        "the pixel shape changes from 16/15 to 64/45 at 0.20 s; all frames get the first, split the video there "
        "to keep both"
    ]
