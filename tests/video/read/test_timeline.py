"""Times from packets are those of decoding, or are not given at all."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from fmanet_cli.video.read.packets import Span
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.read.timeline import decoded_timeline, packet_timeline
from support.clips import make_clip, make_gif, make_interlaced, packet_payloads
from support.reading import packets_in

CLIPS: dict[str, tuple[dict[str, Any], bool]] = {
    "constant.mp4": ({"audio": ["aac"]}, True),
    "reordered.mp4": ({"count": 40, "options": {"bf": "5", "b-pyramid": "strict"}}, True),
    "variable.mkv": ({"pts": [0, 40, 41, 150, 300], "time_base": Fraction(1, 1000)}, True),
    "late.mp4": ({"pts": [19200 + 512 * k for k in range(12)]}, True),
    "hevc.mkv": ({"codec": "libx265"}, True),
    "vp9.webm": ({"codec": "libvpx-vp9", "options": {"lag-in-frames": "16", "cpu-used": "8"}, "count": 30}, True),
    "vp8.webm": ({"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}, "count": 60}, False),
    "stream.ts": ({}, False),
    "mpeg4.avi": ({"codec": "mpeg4", "options": {"bf": "2"}}, False),
    "raw.h264": ({}, False),
}


@pytest.mark.parametrize("name", CLIPS)
def test_packets_say_what_decoding_says(tmp_path: Path, name: str) -> None:
    options, is_exact = CLIPS[name]
    path = tmp_path / name
    make_clip(path, **options)
    for trim in ({}, {"start_seconds": 0.1}, {"start_seconds": 0.1, "end_seconds": 0.25}):
        with VideoReader(path, **trim) as reader:
            info, frames = reader.info, list(reader)
        decoded = decoded_timeline(info)
        assert list(decoded.pts) == [frame.pts for frame in frames]
        assert decoded.last_duration == frames[-1].duration
        told = packet_timeline(info, packets_in(path, video_index=info.stream_index))
        assert (told is not None) == is_exact
        if told is not None:
            assert list(told.pts) == list(decoded.pts)
            assert told.last_duration == decoded.last_duration


@pytest.mark.parametrize(("make", "name"), [(make_gif, "a.gif"), (make_interlaced, "a.mp4")])
def test_other_kinds(tmp_path: Path, make: Any, name: str) -> None:
    make(tmp_path / name)
    with VideoReader(tmp_path / name) as reader:
        info, frames = reader.info, list(reader)
    decoded = decoded_timeline(info)
    assert list(decoded.pts) == [frame.pts for frame in frames]
    told = packet_timeline(info, packets_in(tmp_path / name, video_index=0))
    assert told is None or list(told.pts) == list(decoded.pts)


def test_digests_are_those_of_the_payloads(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "a.mkv"
    make_clip(path, audio=["aac", "flac"], subtitles=[(0.1, 0.3, "one")])
    found = packets_in(path, video_index=0)
    assert found.problem == ""
    for index, payloads in enumerate([*packet_payloads(path, "audio"), *packet_payloads(path, "subtitle")], 1):
        packets = found.streams[index]
        assert packets.count == len(payloads)
        assert packets.digest == hashlib.sha256(b"".join(payloads)).hexdigest()
    assert found.streams[0].digest == ""


def test_aac_has_the_same_digest_with_and_without_adts_headers(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", audio=["aac"])
    with av.open(str(tmp_path / "a.mp4")) as old, av.open(str(tmp_path / "a.ts"), "w") as new:
        streams = [new.add_stream_from_template(stream, opaque=True) for stream in old.streams]
        for packet in old.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    digests = {packets_in(tmp_path / name, video_index=0).streams[1].digest for name in ("a.mp4", "a.ts")}
    assert len(digests) == 1


def test_a_span_takes_packets_by_time_and_subtitles_that_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    make_clip(
        path, count=50, audio=["flac"], subtitles=[(0.1, 0.3, "before"), (0.4, 1.2, "across"), (1.5, 1.8, "after")]
    )
    span = Span(Fraction(1), Fraction(3, 2))
    found = packets_in(path, video_index=0, span=span).streams
    every = packets_in(path, video_index=0).streams
    assert list(found[1].pts) == [pts for pts in every[1].pts if 1000 <= pts < 1500]
    assert (list(found[2].pts), found[2].end) == ([1000], 1200)
    assert found[0].count == every[0].count == 50
