"""Choices that the finished file would contradict, refused before the first frame."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import pytest

from fmanet_cli.errors import OptionError
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.codecs import EncoderOptions
from fmanet_cli.video.write.encoder_words import WORDS
from fmanet_cli.video.write.writer import VideoWriter
from support.clips import make_clip

OWN = ["color_range", "colorspace", "color_trc", "color_primaries", "video_size", "time_base", "pix_fmt", "aspect"]
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    *((f"{key} is the source's", {"extra": {key: "1"}}, f"option {key} follows the source") for key in OWN),
    ("crf twice", {"extra": {"crf": "99"}}, "crf of libx264 is set by crf"),
    ("crf inside parameters", {"extra": {"x264-params": "ref=1:crf=3"}}, "crf of libx264 is set by crf"),
    ("preset twice", {"extra": {"preset": "fast"}}, "preset of libx264 is set by preset"),
    ("unknown parameter", {"extra": {"x264-params": "zzz=1"}}, "libx264 passes an option over: .*zzz"),
    ("unknown to x265", {"codec": "x265", "extra": {"x265-params": "zzz=1"}}, "libx265 passes an option over: .*zzz"),
    ("unknown to SVT", {"codec": "av1", "extra": {"svtav1-params": "zzz=1"}}, "libsvtav1 passes an option over: .*zzz"),
    ("no number", {"extra": {"bf": "abc"}}, "does not take bf='abc'"),
    ("no preset", {"preset": "nope"}, "libx264 does not take preset='nope'; it takes ultrafast, superfast, .*placebo$"),
    ("no preset of x265", {"codec": "x265", "preset": "nope"}, "libx265 does not take preset='nope'; it takes .*fast"),
    ("no word for VP9", {"codec": "vp9", "preset": "good"}, "libvpx-vp9 does not take preset='good'; it takes -8 to 8"),
    ("no tune", {"extra": {"tune": "film,nope"}}, "libx264 does not take tune='film,nope'; it takes film, .*grain"),
    ("no tune of x265", {"codec": "x265", "extra": {"tune": "film"}}, "libx265 does not take tune='film'; it takes"),
    ("no profile", {"extra": {"profile": "nope"}}, "libx264 does not take profile='nope'; it takes baseline, main"),
    ("no profile of x265", {"codec": "x265", "extra": {"profile": "nope"}}, "libx265 does not take profile='nope'"),
    ("no level", {"extra": {"level": "abc"}}, "libx264 does not take level='abc'"),
    ("empty preset", {"preset": ""}, "preset of libx264 must not be empty"),
    ("empty codec", {"codec": ""}, "codec '' is not known"),
    ("preset of AV1", {"codec": "av1", "preset": "99"}, "libsvtav1 does not take preset='99'; it takes -2 to 13"),
    ("full range by name", {"pix_fmt": "yuvj420p"}, "colour range of full instead of limited"),
    ("another matrix", {"extra": {"x264-params": "colormatrix=bt470bg"}}, "colour matrix of 5 instead of 1"),
    ("too large for the card", {"codec": "h264_nvenc", "size": (16, 5000)}, "at most 4096 pixels a side"),
]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    make_clip(path, count=12, height=24, width=32, tags=(1, 1, 1, 1))
    return path


@pytest.mark.parametrize(("choice", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_choice_that_cannot_be_kept_is_refused(
    clip: Path, tmp_path: Path, choice: dict[str, Any], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    size = {"size": choice["size"]} if "size" in choice else {"scale": 1}
    encoder = EncoderOptions(**{name: value for name, value in choice.items() if name != "size"})
    with VideoReader(clip) as reader, pytest.raises(OptionError, match=message):
        VideoWriter(tmp_path / "b.mp4", like=reader.info, encoder=encoder, **size)
    # x264 and x265 print past FFmpeg's messages.
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("codec", "option", "word"),
    [(codec, option, str(word)) for codec, known in WORDS.items() for option, words in known.items() for word in words],
)
def test_words_that_are_named_are_taken(codec: str, option: str, word: str) -> None:
    with av.open(io.BytesIO(), "w", format="mov" if codec == "prores_ks" else "matroska") as output:
        deep = {"high10": "yuv420p10le", "high422": "yuv422p", "high444": "yuv444p"}
        video: Any = output.add_stream(codec, rate=25, options={option: word})
        video.height, video.width = 64, 64
        video.pix_fmt = "yuv422p10le" if codec == "prores_ks" else deep.get(word, "yuv420p")
        output.start_encoding()
        assert video.codec_context.options == {}


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 3), (2, 2), (7, 5), (2, 400)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_small_size_is_written_as_asked_or_refused(
    clip: Path, tmp_path: Path, size: tuple[int, int], suffix: str
) -> None:
    with VideoReader(clip) as reader:
        try:
            VideoWriter(tmp_path / f"b{suffix}", like=reader.info, size=size).abort()
        except OptionError as error:
            assert "pixel shape" in str(error)
