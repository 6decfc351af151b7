"""What a run keeps, for many kinds of file, the network replaced by plain upscaling."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.job import restore_video
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.video.frames import Frame
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.codecs import EncoderOptions
from support.clips import make_clip, packet_payloads, packet_times
from support.plain_upscaling import PlainUpscaling

BT601, BT709 = (6, 1, 6, 6), (1, 1, 1, 1)
KINDS: dict[str, dict[str, Any]] = {
    "constant rate": {"audio": ["aac"]},
    "variable rate": {"pts": [0, 900, 2000, 2100, 9000, 9001, 12345], "time_base": Fraction(1, 12800), "count": 7},
    "rotated": {"rotation": 90},
    "two sound tracks": {"audio": ["aac", "ac3"]},
    "no sound": {},
    "odd size": {"height": 61, "width": 97, "pix_fmt": "yuv444p"},
    "one frame": {"count": 1, "pts": [0]},
    "bt.601": {"tags": BT601},
    "bt.709": {"tags": BT709},
    "late start, B-frames": {"pts": [512 * (40 + number) for number in range(12)], "audio": ["aac"], "audio_start": 1},
}


@pytest.fixture
def plain(tiny_model: FMANet) -> Restorer:
    return Restorer(tiny_model, device="cpu", precision="fp32", runner=PlainUpscaling())


def frames_of(path: Path) -> Iterator[Frame]:
    with VideoReader(path) as reader:
        yield from reader


def tags_of(path: Path) -> tuple[object, ...]:
    with VideoReader(path) as reader:
        info = reader.info
    colour = info.colour
    return (
        (colour.matrix, colour.full_range, colour.primaries, colour.transfer),
        info.display_matrix,
        info.sample_aspect_ratio,
    )


def colour_error(source: Path, target: Path) -> float:
    """Largest difference of 4x4 block means, in 8-bit codes."""
    worst = 0.0
    for before, after in zip(frames_of(source), frames_of(target), strict=True):
        height, width = before.image.shape[:2]
        means = after.image.reshape(height, 4, width, 4, 3).mean(axis=(1, 3))
        worst = max(worst, float(np.abs(means - before.image).max()) * 255)
    return worst


@pytest.mark.parametrize("kind", KINDS)
def test_frames_timestamps_streams_and_colours_are_kept(kind: str, tmp_path: Path, plain: Restorer) -> None:
    source, target = tmp_path / "source.mp4", tmp_path / "target.mp4"
    times = make_clip(source, **KINDS[kind])
    report = restore_video(source, target, plain)
    assert report.frames == len(times)
    found = [frame.pts * frame.time_base for frame in frames_of(target)]
    assert found == times
    assert packet_payloads(target, "audio") == packet_payloads(source, "audio")
    assert packet_times(target, "audio") == packet_times(source, "audio")
    assert tags_of(target) == tags_of(source)
    # The encoder's quantisation is in it: crf 16.
    assert colour_error(source, target) < 8
    with av.open(str(source)) as before, av.open(str(target)) as after:
        assert [stream.type for stream in after.streams] == [stream.type for stream in before.streams]
        assert abs(before.duration - after.duration) <= 1000


def test_without_the_encoders_loss_colours_stay_within_two_codes(tmp_path: Path, plain: Restorer) -> None:
    for name, tags in (("a", BT601), ("b", BT709)):
        source, target = tmp_path / f"{name}.mp4", tmp_path / f"{name}.mkv"
        make_clip(source, tags=tags, count=3)
        restore_video(source, target, plain, settings=RestoreSettings(encoder=EncoderOptions(codec="ffv1")))
        assert tags_of(target) == tags_of(source)
        assert colour_error(source, target) < 2
