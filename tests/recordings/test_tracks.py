"""Which of several video streams is restored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fmanet_cli.errors import OptionError
from fmanet_cli.restore.job import restore_video
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.verify.compare import Expectation, verify
from fmanet_cli.video.contents import probe
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.codecs import EncoderOptions
from support.clips import number_of
from support.fuzz_runs import plain_restorer
from support.odd_clips import record_tracks

STILL = {"codec": "mjpeg", "count": 1, "size": (96, 128)}
SMALL: dict[str, Any] = {"size": (24, 32)}
OTHER = {"default": False}


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
@pytest.mark.parametrize(
    ("tracks", "chosen"),
    [
        ([STILL, {}], 1),
        ([STILL | OTHER, {}], 1),
        ([STILL, OTHER], 1),
        ([{}, STILL], 0),
        ([OTHER, SMALL], 1),
        ([SMALL, {}], 1),
        ([{}, SMALL], 0),
        ([{}, {}], 0),
        ([{"codec": "mjpeg"}, OTHER], 0),
    ],
)
def test_the_main_stream_is_chosen_as_players_do(
    tmp_path: Path, suffix: str, tracks: list[dict[str, Any]], chosen: int
) -> None:
    path = tmp_path / f"a{suffix}"
    record_tracks(path, *tracks)
    with VideoReader(path) as reader:
        assert reader.info.stream_index == chosen
        assert [number_of(frame.image) for frame in reader] == [16 * (chosen + 1) + k for k in range(6)]


def test_a_stream_is_taken_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    record_tracks(path, {}, SMALL)
    assert probe(path, stream=1).info.width == 32
    settings = RestoreSettings(encoder=EncoderOptions(preset="ultrafast"), stream=1)
    report = restore_video(path, tmp_path / "b.mkv", plain_restorer(), settings=settings)
    assert report.source_size == (32, 24)
    assert any("video stream 0" in warning for warning in report.warnings)
    assert not verify(path, tmp_path / "b.mkv", expectation=Expectation(stream=1)).differences
    assert verify(path, tmp_path / "b.mkv").differences


@pytest.mark.parametrize("number", [2, 9])
def test_a_number_that_is_no_video_is_refused(tmp_path: Path, number: int) -> None:
    record_tracks(tmp_path / "a.mkv", {}, SMALL)
    with pytest.raises(OptionError, match=f"stream {number} is no video that can be decoded; video streams: 0, 1"):
        VideoReader(tmp_path / "a.mkv", stream=number)


def test_the_still_image_beside_a_film_does_not_fail_the_run(tmp_path: Path) -> None:
    record_tracks(tmp_path / "a.mkv", STILL | OTHER, {})
    for name in ("b.mp4", "b.mkv"):
        settings = RestoreSettings(encoder=EncoderOptions(preset="ultrafast"))
        report = restore_video(tmp_path / "a.mkv", tmp_path / name, plain_restorer(), settings=settings)
        assert "video stream 0 (mjpeg) is left out" in report.warnings
