"""Sound, text and marks of recordings as people have them: each is kept, or said to be left out, before the run."""

from __future__ import annotations

import io
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import av
import pytest

from fmanet_cli.errors import OptionError
from fmanet_cli.restore.job import restore_video
from fmanet_cli.restore.outcome import RestoreReport
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.verify.compare import verify
from fmanet_cli.video.contents import probe
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.codecs import EncoderOptions
from support.clips import make_clip, packet_payloads, packet_times
from support.fuzz_runs import plain_restorer
from support.odd_clips import joined, record

FAST = EncoderOptions(preset="ultrafast")


def restored(source: Path, target: Path, encoder: EncoderOptions = FAST, **settings: object) -> RestoreReport:
    """A run with the network replaced by plain upscaling; it raises where the result is not what was promised."""
    return restore_video(source, target, plain_restorer(), settings=RestoreSettings(encoder=encoder, **settings))


def unknown_sound(path: Path) -> Path:
    """A film whose sound is of a codec that nobody knows, as spatial audio of phones and the codecs of recorders."""
    sound, names = {
        ".mp4": ("ac3", (b"ac-3", b"apac")),
        ".mov": ("pcm_s16le", (b"sowt", b"qqqq")),
        ".mkv": ("flac", (b"A_FLAC", b"A_QQQQ")),
        ".avi": ("mp2", (b"\x50\0\2\0\x44\xac", b"\xe7\xe6\2\0\x44\xac")),
    }[path.suffix]
    record(path, sound=sound, sound_seconds=0.4)
    path.write_bytes(path.read_bytes().replace(*names))
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context is None
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi"])
@pytest.mark.parametrize("audio", ["copy", "aac"])
def test_sound_of_an_unknown_codec_is_left_out_with_a_word(tmp_path: Path, suffix: str, audio: str) -> None:
    source = unknown_sound(tmp_path / f"a{suffix}")
    lost = "audio stream 1 is left out: its codec is not known here"
    assert lost in probe(source, target="mkv", audio=audio).losses.lost
    for target in (tmp_path / "b.mkv", tmp_path / "b.mp4"):
        assert lost in restored(source, target, audio=audio).warnings
        assert not verify(source, target).differences


@pytest.mark.parametrize("codec", ["wmav1", "wmav2"])
@pytest.mark.parametrize("rate", [32000, 44100])
def test_sound_whose_first_packets_give_nothing_starts_where_it_is_heard(tmp_path: Path, codec: str, rate: int) -> None:
    record(tmp_path / "a.wmv", codec="wmv2", sound=codec, sound_seconds=0.8, sound_rate=rate, count=20)
    for target in (tmp_path / "b.mp4", tmp_path / "b.mkv"):
        assert restored(tmp_path / "a.wmv", target).verification is not None
    restored(tmp_path / "a.wmv", tmp_path / "c.mkv", start_seconds=0.2)


@pytest.mark.parametrize("seconds", [0.1, 0.4])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_last_packet_without_duration_is_kept(tmp_path: Path, seconds: float, suffix: str) -> None:
    record(tmp_path / "a.mkv", sound="alac", sound_seconds=seconds)
    assert not restored(tmp_path / "a.mkv", tmp_path / f"b{suffix}").warnings
    assert packet_payloads(tmp_path / f"b{suffix}", "audio") == packet_payloads(tmp_path / "a.mkv", "audio")


@pytest.mark.parametrize(("codec", "samples"), [("libmp3lame", 1152), ("ac3", 1536), ("mp2", 1152)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_of_avi_is_converted_in_samples(tmp_path: Path, codec: str, samples: int, suffix: str) -> None:
    """AVI counts sound in whole frames of the codec."""
    record(tmp_path / "a.avi", codec="mpeg4", sound=codec, sound_seconds=0.8, sound_rate=48000, count=20)
    restored(tmp_path / "a.avi", tmp_path / f"b{suffix}", audio="aac")
    times = packet_times(tmp_path / f"b{suffix}", "audio")[0]
    steps = {round((later - earlier) * 48000) for earlier, later in pairwise(times[1:-1])}
    assert all(abs(step - 1024) <= 48 for step in steps)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_script_data_of_flv_is_no_subtitle(tmp_path: Path, suffix: str) -> None:
    record(tmp_path / "a.flv", codec="flv1", sound="libmp3lame", sound_seconds=0.4)
    name, key, value = (len(word).to_bytes(2, "big") + word for word in (b"onTextData", b"text", b"cue"))
    data = b"\x02" + name + b"\x08" + (1).to_bytes(4, "big") + key + b"\x02" + value + b"\0\0\x09"
    tag = b"\x12" + len(data).to_bytes(3, "big") + bytes(7) + data
    with (tmp_path / "a.flv").open("ab") as file:
        file.write(tag + len(tag).to_bytes(4, "big"))
    with av.open(str(tmp_path / "a.flv")) as container:
        assert [stream.type for stream in container.streams].count("subtitle") == 1
    report = restored(tmp_path / "a.flv", tmp_path / f"b{suffix}")
    assert sum("FLV keeps the data of scripts there" in warning for warning in report.warnings) == 1


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".nut"])
@pytest.mark.parametrize("audio", ["copy", "aac"])
def test_a_part_without_a_packet_of_sound_loses_none(tmp_path: Path, suffix: str, audio: str) -> None:
    make_clip(tmp_path / "a.mp4", count=20, height=24, width=32, audio=["ac3"])
    report = restored(tmp_path / "a.mp4", tmp_path / f"b{suffix}", start_seconds=0.52, end_seconds=0.53, audio=audio)
    assert report.frames == 1


@pytest.mark.parametrize(("codec", "size"), [("aac", 188), ("ac3", 192)])
def test_sound_that_bluray_does_not_know_is_named_in_m2ts(tmp_path: Path, codec: str, size: int) -> None:
    record(tmp_path / "a.mp4", sound=codec, sound_seconds=0.4)
    restored(tmp_path / "a.mp4", tmp_path / "b.m2ts")
    content = (tmp_path / "b.m2ts").read_bytes()
    assert all(content[place + size - 188] == 0x47 for place in range(0, len(content) - size, size))
    with av.open(str(tmp_path / "b.m2ts")) as container:
        assert container.streams.audio[0].codec_context.name == codec


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "pcm_s16le"), (".nut", "flac"), (".mov", "aac")])
def test_packets_of_one_time_keep_it_or_are_converted(tmp_path: Path, suffix: str, codec: str) -> None:
    """Matroska counts milliseconds; TrueHD, and PCM here, has 1,200 packets a second."""
    record(tmp_path / "plain.mkv", count=20)
    with av.open(str(tmp_path / "plain.mkv")) as plain, av.open(str(tmp_path / "a.mkv"), "w") as output:
        video = output.add_stream_from_template(plain.streams.video[0], opaque=True)
        track = output.add_stream("pcm_s16le", rate=48000, layout="stereo")
        for packet in plain.demux():
            if packet.size:
                packet.stream = video
                output.mux(packet)
        for number in range(960):
            packet = av.Packet(bytes(160))
            packet.pts = packet.dts = 40 * number
            packet.duration, packet.time_base, packet.stream = 40, Fraction(1, 48000), track
            output.mux(packet)
    source, target = packet_times(tmp_path / "a.mkv", "audio")[0], tmp_path / f"b{suffix}"
    assert any(later == earlier for earlier, later in pairwise(source))
    restored(tmp_path / "a.mkv", target)
    found = packet_times(target, "audio")[0]
    assert codec != "pcm_s16le" or found == source
    assert abs(found[-1] - source[-1]) < Fraction(1, 10)
    with av.open(str(target)) as container:
        assert container.streams.audio[0].codec_context.name == codec


@pytest.mark.parametrize(("suffix", "back"), [(".mp4", 0.4), (".mkv", 0.8), (".ts", 0.8), (".mp4", 1.5)])
def test_recordings_that_were_joined_stay_together(tmp_path: Path, suffix: str, back: float) -> None:
    """The clock of the second part starts `back` seconds before the end of the first."""
    seconds = 1.6
    record(tmp_path / "a.ts", sound="mp2", sound_seconds=seconds, sound_rate=48000, count=40)
    late = {"output_ts_offset": str(seconds - back)}
    record(tmp_path / "b.ts", sound="mp2", sound_seconds=seconds, sound_rate=48000, count=40, muxer=late)
    joined(tmp_path / "c.ts", tmp_path / "a.ts", tmp_path / "b.ts")
    report = restored(tmp_path / "c.ts", tmp_path / f"d{suffix}", on_error="continue")
    assert report.frames == 80
    sound, frames = (sorted(packet_times(tmp_path / f"d{suffix}", kind)[0]) for kind in ("audio", "video"))
    # In each part they begin together.
    for share in (0, len(frames) // 2):
        moment = frames[share]
        assert min(abs(time - moment) for time in sound) < Fraction(1, 10)
    assert abs(sound[-1] - frames[-1]) < Fraction(1, 10)
    assert len(sound) == 2 * len(packet_times(tmp_path / "a.ts", "audio")[0])


@pytest.mark.parametrize(
    ("container", "crf", "codec"),
    [(None, None, "ffv1"), ("nut", None, "rawvideo"), ("y4m", None, "rawvideo"), ("matroska", 20.0, "h264")],
)
def test_standard_output_is_lossless_unless_a_quality_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str | None, crf: float | None, codec: str
) -> None:
    record(tmp_path / "a.mp4", count=4)
    piped = io.BytesIO()
    monkeypatch.setattr("sys.stdout", SimpleNamespace(buffer=piped))
    restored(tmp_path / "a.mp4", Path("-"), EncoderOptions(crf=crf), container=container)
    (tmp_path / "piped").write_bytes(piped.getvalue())
    with VideoReader(tmp_path / "piped") as reader:
        assert reader.info.codec == codec
        assert len(list(reader)) == 4


def test_numbered_images_have_the_asked_rate(tmp_path: Path) -> None:
    record(tmp_path / "a.mp4", count=4)
    restored(tmp_path / "a.mp4", tmp_path / "f%02d.png", EncoderOptions())
    restored(tmp_path / "f%02d.png", tmp_path / "b.mp4", frame_rate="24000/1001")
    with VideoReader(tmp_path / "b.mp4") as reader:
        assert reader.info.frame_rate == Fraction(24000, 1001)
        assert [round(frame.seconds * 24000 / 1001) for frame in reader] == [0, 1, 2, 3]
    with pytest.raises(OptionError, match=r"a\.mp4 says itself when its frames are shown"):
        restored(tmp_path / "a.mp4", tmp_path / "c.mp4", frame_rate="25")


@pytest.mark.parametrize("rate", ["0", "-1", "25/0", "nan", "inf", "1e9", "", "a/b"])
def test_an_impossible_rate_is_refused(rate: str) -> None:
    with pytest.raises(OptionError, match="the frame rate must be a number"):
        RestoreSettings(frame_rate=rate)
