"""Where recordings end: whole ones are never called cut short, and their last frame is shown as long as it was."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from fmanet_cli.errors import VideoReadError
from support.odd_clips import REPEATED_THEORA, record, shift_fragments
from support.reading import frames_of, seconds

FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
MILLISECOND = Fraction(1, 1000)


@pytest.mark.parametrize("start", [Fraction(0), Fraction(2, 5), Fraction(5), Fraction(3600), Fraction(90000)])
@pytest.mark.parametrize("sound", ["", "aac"])
def test_fragments_may_begin_at_any_time(tmp_path: Path, start: Fraction, sound: str) -> None:
    path = tmp_path / "part.mp4"
    record(path, options={"bf": "2", "g": "4"}, muxer=FRAGMENTED, sound=sound, sound_seconds=0.4)
    whole, _ = frames_of(path)
    shift_fragments(path, start)
    frames, reader = frames_of(path)
    assert [after - before for before, after in zip(seconds(whole), seconds(frames), strict=True)] == [start] * 10
    assert {frame.duration * frame.time_base for frame in frames} == {Fraction(1, 25)}
    assert reader.problems == []
    assert reader.info.duration_seconds == pytest.approx(0.4, abs=0.1)


@pytest.mark.parametrize("name", ["a.wmv", "a.mkv", "a.mp4", "a.avi", "a.ts", "a.flv", "a.nut", "a.mov"])
@pytest.mark.parametrize("count", [1, 2, 10])
def test_sound_may_last_longer_than_the_video(tmp_path: Path, name: str, count: int) -> None:
    path = tmp_path / name
    codecs = {".wmv": ("wmv2", "wmav2"), ".avi": ("mpeg4", "mp3"), ".flv": ("flv", "mp3")}
    codec, sound = codecs.get(path.suffix, ("libx264", "aac"))
    record(path, count=count, codec=codec, sound=sound, sound_seconds=3.0)
    frames, reader = frames_of(path)
    assert len(frames) == count
    assert reader.problems == []
    if (name, count) == ("a.avi", 1):
        return  # FFmpeg's muxer declares two frames there.
    assert frames[-1].duration * frames[-1].time_base == pytest.approx(1 / 25, abs=float(MILLISECOND))


@pytest.mark.parametrize("name", ["a.wmv", "a.asf"])
def test_a_cut_recording_of_windows_media_is_seen(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    record(path, codec="wmv2", sound="wmav2", sound_seconds=0.4, form="asf")
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(VideoReadError, match=r"cut short: its end .900 bytes"):
        frames_of(path)


def test_an_empty_packet_of_theora_shows_the_frame_before_longer() -> None:
    frames, reader = frames_of(REPEATED_THEORA)
    assert seconds(frames) == [Fraction(number, 25) for number in (0, 5, 10, 12, 15)]
    assert [frame.duration for frame in frames] == [5, 5, 2, 3, 5]
    assert reader.problems == []
    assert reader.info.frame_count == 5


def test_a_recording_that_begins_in_the_middle_says_what_it_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "whole.ts"
    record(path, count=20, options={"g": "8", "bf": "0", "sc_threshold": "0"})
    content = path.read_bytes()
    whole, _ = frames_of(path)
    units = [content[at : at + 188] for at in range(0, len(content), 188)]
    # Tables first, then the frames from the third on.
    starts = [k for k, unit in enumerate(units) if unit[1] & 0x40 and (unit[1] & 0x1F, unit[2]) == (1, 0)]
    (tmp_path / "cut.ts").write_bytes(b"".join(units[: starts[0]] + units[starts[3] :]))
    frames, reader = frames_of(tmp_path / "cut.ts")
    assert seconds(frames) == seconds(whole)[8:]
    assert reader.warnings == ["5 frames at the start cannot be decoded and are left out: the file begins in mid-shot"]
