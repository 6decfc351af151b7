"""What recordings say beside their pixels is seen, named before the run, and refused where nothing may be lost."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fmanet_cli.errors import OptionError, VideoReadError
from fmanet_cli.restore.job import RestoreSettings, restore_video
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
    clean_aperture,
    dolby_vision,
    joined,
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


def test_captions_that_begin_later_are_named_with_their_time(tmp_path: Path) -> None:
    record_with_sei(tmp_path / "a.mp4", CAPTIONS, count=12, first=5)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert not reader.info.marks.captions
        list(reader)
    assert reader.warnings == ["closed captions begin at 0.20 s and are lost"]


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


def test_stereo_marks_of_the_pictures_are_seen(tmp_path: Path) -> None:
    record(tmp_path / "a.mkv", options={"x264-params": "frame-packing=3"})
    assert any("stereo" in loss for loss in probe(tmp_path / "a.mkv").losses.lost)


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
