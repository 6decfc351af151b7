"""Languages, titles and flags of streams, and the shift of a copy, in every container."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from fmanet_cli.errors import OptionError
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.writer import VideoWriter
from support.clips import make_clip, packet_times
from support.tampering import enlarged_copy, remuxed

Disposition = av.stream.Disposition


def marked(stream: Any) -> None:
    stream.metadata["title"] = f"Title {stream.index}"
    stream.metadata["language"] = ("jpn", "deu", "swe")[stream.index]
    flags = (Disposition.default, Disposition.default, Disposition.forced | Disposition.comment)
    stream.disposition = flags[stream.index]


def marks(path: Path) -> list[tuple[str, str, set[str]]]:
    with av.open(str(path)) as container:
        return [
            (
                stream.metadata.get("language", ""),
                stream.metadata.get("title") or stream.metadata.get("name", ""),
                {flag.name for flag in Disposition if stream.disposition & flag} & {"default", "forced", "comment"},
            )
            for stream in container.streams
        ]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    make_clip(tmp_path / "plain.mkv", audio=["aac", "ac3"])
    remuxed(tmp_path / "plain.mkv", tmp_path / "a.mkv", stream=marked)
    return tmp_path / "a.mkv"


@pytest.mark.parametrize("name", ["b.mkv", "b.mp4", "b.nut"])
def test_marks_survive(source: Path, tmp_path: Path, name: str) -> None:
    enlarged_copy(source, tmp_path / name)
    third = {"comment"} if name == "b.nut" else {"forced", "comment"}
    assert marks(tmp_path / name) == [
        ("jpn", "Title 0", {"default"}),
        ("deu", "Title 1", {"default"}),
        ("swe", "Title 2", third),
    ]


def test_titles_of_mp4_survive_the_way_back(source: Path, tmp_path: Path) -> None:
    enlarged_copy(source, tmp_path / "b.mp4")
    enlarged_copy(tmp_path / "b.mp4", tmp_path / "c.mkv", scale=1)
    assert [title for _, title, _ in marks(tmp_path / "c.mkv")] == ["Title 0", "Title 1", "Title 2"]


def test_quicktime_has_its_own_codes_of_languages(source: Path, tmp_path: Path) -> None:
    enlarged_copy(source, tmp_path / "b.mov")
    assert [language for language, _, _ in marks(tmp_path / "b.mov")] == ["jpn", "ger", "sve"]


def test_lost_marks_are_named(source: Path, tmp_path: Path) -> None:
    with VideoReader(source) as reader:
        writer = VideoWriter(tmp_path / "b.ts", like=reader.info)
        assert writer.warnings == [
            "audio stream 1 (aac, deu) loses its title: mpegts cannot hold them",
            "audio stream 2 (ac3, swe) loses its title, comment, forced: mpegts cannot hold them",
        ]
        with pytest.raises(OptionError, match=r"strict: .* loses its comment, forced: mov cannot hold them"):
            VideoWriter(tmp_path / "b.mov", like=reader.info, strict=True)


def test_lost_tags_and_pixel_shapes_are_named(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", metadata={"title": "T"}, sample_aspect_ratio=Fraction(64, 45), tags=(1, 1, 1, 1))
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert VideoWriter(tmp_path / "b.ts", like=reader.info).warnings == [
            "1 tags of the file are lost: mpegts cannot hold them"
        ]
        assert "the pixel shape 64/45 is lost" in VideoWriter(tmp_path / "b.y4m", like=reader.info).warnings[0]


@pytest.mark.parametrize("audio", ["aac", "ac3", "libopus"])
@pytest.mark.parametrize("name", ["b.mkv", "b.mp4"])
@pytest.mark.parametrize("options", [{}, {"read": {"start_seconds": 0.2}}, {"audio": "aac"}])
def test_the_shift_of_a_copy_is_the_one_that_was_said(
    tmp_path: Path, audio: str, name: str, options: dict[str, Any]
) -> None:
    """Only Matroska of FFmpeg 8 moves a file whose copied sound starts before 0."""
    make_clip(tmp_path / "a.mp4", count=25, audio=[audio])
    _, shift = enlarged_copy(tmp_path / "a.mp4", tmp_path / name, **options)
    first = packet_times(tmp_path / name, "video")[0][0]
    assert first == (Fraction(1, 5) if "read" in options else 0) + shift
