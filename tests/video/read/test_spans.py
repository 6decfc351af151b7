"""Spans out of the middle of a file: the frames of a span are those of the whole film, at every cut."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from fmanet_cli.errors import VideoReadError
from fmanet_cli.video.frames import Frame
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.read.spans import SpanReader
from support.clips import make_clip

COUNT = 150
SPAN = 30

X264 = {"preset": "veryfast", "g": "20", "bf": "3"}

KINDS: dict[str, dict[str, Any]] = {
    "closed.mp4": {"options": X264},
    "open.mp4": {"options": {**X264, "x264-params": "open-gop=1:b-pyramid=normal"}},
    "refresh.mp4": {"options": {"preset": "veryfast", "g": "40", "x264-params": "intra-refresh=1"}},
    "interlaced.mp4": {"options": {**X264, "x264-params": "interlaced=1:tff=1"}, "height": 96},
    "uneven.mp4": {
        "options": X264,
        "time_base": Fraction(1, 12000),
        "pts": [n * 480 + (n * 37 % 200) for n in range(COUNT)],
    },
    "late.mkv": {"options": X264, "time_base": Fraction(1, 1000), "pts": [4000 + n * 40 for n in range(COUNT)]},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=20:open-gop=1:bframes=3"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8", "g": "20"}},
    "stream.ts": {"options": X264},
    "old.avi": {"codec": "mpeg4", "options": {"g": "20", "bf": "2"}},
    "edited.mp4": {"options": X264},
}

CUT_FRAMES = 13
"""Of the edited film: an edit list hides them."""


def digest(frame: Frame) -> tuple[int, str]:
    return frame.pts, hashlib.sha256(frame.image.tobytes()).hexdigest()


def write(path: Path) -> Path:
    make_clip(path, **{"count": COUNT, "height": 64, "width": 96, **KINDS[path.name]})
    if path.name == "edited.mp4":
        cut_by_edit_list(path)
    return path


def cut_by_edit_list(path: Path) -> None:
    """As editors cut without encoding: the first frames stay in the file and are not shown."""
    whole = path.rename(path.with_name("whole.mp4"))
    with (
        av.open(str(whole)) as source,
        av.open(str(path), "w", container_options={"avoid_negative_ts": "disabled"}) as output,
    ):
        track = source.streams.video[0]
        copy = output.add_stream_from_template(track)
        assert track.average_rate is not None
        shift = round(CUT_FRAMES / track.average_rate / track.time_base)
        for packet in source.demux(track):
            if packet.size:
                assert packet.pts is not None
                assert packet.dts is not None
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                output.mux(packet)


@pytest.mark.parametrize("name", KINDS)
def test_a_span_is_cut_out_of_the_whole_film(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    with VideoReader(path) as reader:
        whole = [digest(frame) for frame in reader]
    count = COUNT - (CUT_FRAMES if name == "edited.mp4" else 0)
    assert len(whole) == count
    pts = [time for time, _ in whole]
    for order in (range(0, COUNT, SPAN), range(COUNT - SPAN, -1, -SPAN)):
        with SpanReader(str(path), options={}) as spans:
            for first in order:
                first, last = max(0, first - 1), min(count, first + SPAN + 1)
                found = [digest(frame) for frame in spans.read(pts[first:last], first=first)]
                assert found == whole[first:last], f"from frame {first}"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Where readers were begun."""
    begun: list[int | None] = []
    begin: Callable[..., None] = VideoReader.__init__

    def noting(self: VideoReader, *args: Any, near_pts: int | None = None, **options: Any) -> None:
        begun.append(near_pts)
        begin(self, *args, near_pts=near_pts, **options)

    monkeypatch.setattr(VideoReader, "__init__", noting)
    return begun


def test_far_spans_are_reached_by_seeking_and_near_ones_by_reading_on(tmp_path: Path, opened: list[int | None]) -> None:
    path = write(tmp_path / "closed.mp4")
    with VideoReader(path) as reader:
        pts = [frame.pts for frame in reader]
    opened.clear()
    with SpanReader(str(path), options={}) as spans:
        for first in (100, 110, 118):
            assert [frame.pts for frame in spans.read(pts[first : first + 12], first=first)] == pts[first : first + 12]
        assert len(opened) == 1
        assert opened[0] is not None
        list(spans.read(pts[5:10], first=5))
    assert opened[1:] == [None]


def test_a_film_that_has_changed_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "closed.mp4")
    with VideoReader(path) as reader:
        pts = [frame.pts for frame in reader]
    wrong = [*pts[:60], pts[60] + 1, *pts[61:]]
    with SpanReader(str(path), options={}) as spans:
        assert len(list(spans.read(wrong[:60], first=0))) == 60
        with pytest.raises(VideoReadError, match=r"another frame 60 than when it was first read"):
            list(spans.read(wrong[55:70], first=55))
