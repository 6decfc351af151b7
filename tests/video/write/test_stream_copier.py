"""Other streams whose times are irregular."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.codecs import EncoderOptions
from fmanet_cli.video.write.stream_plan import samples_for
from fmanet_cli.video.write.writer import VideoWriter
from support.clips import make_clip, packet_payloads, packet_times


def test_long_priming_is_copied_and_not_converted(tmp_path: Path) -> None:
    """Several packets before 0, as some phones write them."""
    make_clip(tmp_path / "a.mp4", audio=["aac"])
    with av.open(str(tmp_path / "a.mp4")) as old, av.open(str(tmp_path / "b.mp4"), "w") as new:
        routes = {s.index: new.add_stream_from_template(s, opaque=True) for s in old.streams}
        for packet in old.demux():
            if packet.size:
                packet.stream, shift = routes[packet.stream.index], 2048 if packet.stream.type == "audio" else 0
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                new.mux(packet)
    assert packet_times(tmp_path / "b.mp4", "audio")[0][0] == Fraction(-3072, 48000)
    with (
        VideoReader(tmp_path / "b.mp4") as reader,
        VideoWriter(
            tmp_path / "c.mp4", like=reader.info, scale=1, encoder=EncoderOptions(preset="ultrafast")
        ) as writer,
    ):
        for frame in reader:
            writer.write(frame)
    assert writer.warnings == []
    assert packet_payloads(tmp_path / "c.mp4", "audio") == packet_payloads(tmp_path / "b.mp4", "audio")
    assert packet_times(tmp_path / "c.mp4", "audio") == packet_times(tmp_path / "b.mp4", "audio")


def test_a_restart_is_continued_in_every_stream(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.ts", count=50, audio=["aac"])
    (tmp_path / "joined.ts").write_bytes((tmp_path / "a.ts").read_bytes() * 2)
    with (
        VideoReader(tmp_path / "joined.ts", on_error="continue") as reader,
        VideoWriter(
            tmp_path / "c.mp4", like=reader.info, scale=1, encoder=EncoderOptions(preset="ultrafast")
        ) as writer,
    ):
        for frame in reader:
            writer.write(frame)
    sound = packet_times(tmp_path / "c.mp4", "audio")[0]
    frames = sorted(packet_times(tmp_path / "c.mp4", "video")[0])
    assert len(frames) == 100
    assert abs((sound[-1] - sound[0]) - (frames[-1] - frames[0])) < Fraction(1, 5)
    assert any("start again; they are continued" in warning for warning in writer.warnings)


def test_samples_start_at_zero_and_rise(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", audio=["aac"])
    with av.open(str(tmp_path / "a.mp4")) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        again = list(samples_for([*packets[:3], packets[1], packets[3]], container.streams.audio[0]))
    assert [copy.dts for copy in again] == [0, 1024, 2048, 3072]
    assert [bytes(copy) for copy in again] == [bytes(packet) for packet in packets[:4]]
    assert packets[0].pts == -1024
