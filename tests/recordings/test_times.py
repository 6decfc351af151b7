"""When frames are shown, against a second reading of the packets that does not use the reader's code."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from fmanet_cli.notes import Notes
from fmanet_cli.video.read.faults import FaultLog
from fmanet_cli.video.read.frame_times import FrameClock, PresentationGuess
from fmanet_cli.video.read.restarts import Restart, RestartLog, is_restart
from support.clips import number_of
from support.odd_clips import joined, move_flv_times, record
from support.reading import frames_of, seconds

SLOT = Fraction(1, 25)
AVI = {
    "x264.avi": {"codec": "libx264", "options": {"bf": "2"}},
    "pyramid.avi": {"codec": "libx264", "options": {"bf": "4", "b-pyramid": "normal"}, "count": 40},
    "plain.avi": {"codec": "libx264", "options": {"bf": "0"}},
    "divx.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "huffyuv.avi": {"codec": "huffyuv", "pix_fmt": "yuv422p"},
}


def decode_times(path: Path) -> list[Fraction]:
    """When the packets of the video are decoded, which is all that AVI says."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        base = Fraction(stream.time_base.numerator, stream.time_base.denominator)
        return [packet.dts * base for packet in container.demux(stream) if packet.size]


@pytest.mark.parametrize("dropped", [(), (3, 4, 8), (1, 2), (9,)])
@pytest.mark.parametrize("name", AVI)
def test_frames_of_avi_keep_the_distances_of_the_packets(tmp_path: Path, name: str, dropped: tuple[int, ...]) -> None:
    """Shown frame n stands where packet n stands, later by what the decoder holds back at first."""
    path = tmp_path / name
    count = int(AVI[name].get("count", 12))
    record(path, **{**AVI[name], "pts": [number for number in range(count) if number not in dropped]})
    frames, reader = frames_of(path)
    assert [number_of(frame.image) for frame in frames] == list(range(count - len(dropped)))
    assert reader.problems == []
    slots = [time / SLOT for time in decode_times(path)]
    held_back = slots.index(frames[0].pts)
    assert [frame.pts for frame in frames[: len(slots) - held_back]] == slots[held_back:]
    assert all(later.pts == earlier.pts + 1 for earlier, later in pairwise(frames[len(slots) - held_back :]))
    assert held_back <= (3 if "bf" in str(AVI[name]) else 0)


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed")
@pytest.mark.parametrize("name", [*AVI, "a.mkv", "a.mp4", "a.ts", "a.mpg", "a.flv", "a.nut"])
def test_frames_stand_where_ffprobe_puts_them(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    record(path, **AVI.get(name, {"codec": {".flv": "flv", ".mpg": "mpeg1video"}.get(path.suffix, "libx264")}))
    entries = ["-show_entries", "frame=best_effort_timestamp:stream=time_base", "-of", "json"]
    command = ["ffprobe", "-v", "quiet", "-select_streams", "v:0", *entries, str(path)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    base = Fraction(found["streams"][0]["time_base"])
    expected = [frame.get("best_effort_timestamp") for frame in found["frames"]]
    frames, _ = frames_of(path)
    # FFmpeg before 7 says nothing of the last frames of AVI and MPEG-PS.
    known = [(time, int(told) * base) for time, told in zip(seconds(frames), expected, strict=True) if told is not None]
    assert [time for time, _ in known] == [told for _, told in known]
    assert len(known) >= len(frames) - 4


@pytest.mark.parametrize("back", [Fraction(3, 25), Fraction(1, 2), Fraction(4, 5), Fraction(30), Fraction(7200)])
def test_a_clock_that_starts_again_is_continued(back: Fraction) -> None:
    """Whatever the step back is, the frames after it keep their distances and none is squeezed."""
    own = [Fraction(7200) + number * SLOT for number in range(25)]
    own += [own[-1] - back + number * SLOT for number in range(25)]
    times, faults, log = clocked(own)
    assert [later - earlier for earlier, later in pairwise(times)] == [SLOT] * 49
    assert log.restarts == [Restart(own[24], own[24] - back, back + SLOT)]
    assert faults.problems == [
        f"frame 25 has a timestamp that goes back by {float(back):.3f} s; the times after it are continued"
    ]


@pytest.mark.parametrize("ahead", [Fraction(8 * 3600), Fraction(1 << 32, 1000)])
def test_a_jump_by_hours_is_closed(ahead: Fraction) -> None:
    own = [number * SLOT + (ahead if number >= 5 else 0) for number in range(10)]
    times, faults, _ = clocked(own)
    assert times == [number * SLOT for number in range(10)]
    assert "jumps ahead by" in faults.problems[0]


def test_a_pause_of_an_hour_is_kept() -> None:
    own = [Fraction(0), SLOT, Fraction(3600), 3600 + SLOT]
    times, faults, _ = clocked(own)
    assert times == own
    assert faults.problems == []


def test_equal_times_are_spread_and_caught_up() -> None:
    own = [Fraction(number, 25) for number in (0, 1, 1, 1, 3, 2, 4, 5, 6)]
    times, faults, log = clocked(own)
    assert all(later - earlier >= SLOT / 2 for earlier, later in pairwise(times))
    assert times[-2:] == own[-2:]
    assert log.restarts == []
    assert faults.count == 3
    assert faults.problems == ["frame 2 has a timestamp that goes back by 0.000 s (and 2 more of this kind)"]


@pytest.mark.parametrize("untimed", [1, 3, 16])
def test_frames_without_a_time_at_the_beginning_are_counted_back(untimed: int) -> None:
    """As of Matroska cut without being encoded anew; forward from 0 they would squeeze those that have a time."""
    own = [SLOT / 2 + number * SLOT for number in range(20)]
    times, faults, _ = clocked([None] * untimed + own)
    assert times == [SLOT / 2 + (number - untimed) * SLOT for number in range(20 + untimed)]
    assert faults.problems == []


@pytest.mark.parametrize("count", [1, 16, 40])
def test_frames_without_any_time_are_counted_from_0(count: int) -> None:
    times, _, _ = clocked([None] * count)
    assert times == [number * SLOT for number in range(count)]


def test_frames_out_of_place_do_not_move_the_rest() -> None:
    """After damage a decoder may give an old frame late; the sound would run away if all that follow were moved."""
    own = [Fraction(number, 25) for number in (0, 1, 2, 3, 4, 5, 1, 6, 7, 8, 9, 10)]
    times, _, log = clocked(own)
    assert times[-3:] == own[-3:]
    assert log.restarts == []
    assert all(later > earlier for earlier, later in pairwise(times))


@pytest.mark.parametrize("back", [9, 18, 22])
def test_joined_transport_streams_are_one_recording(tmp_path: Path, back: int) -> None:
    record(tmp_path / "a.ts", count=25, options={"bf": "2"})
    record(tmp_path / "b.ts", count=25, options={"bf": "2"}, pts=range(25 - back, 50 - back))
    joined(tmp_path / "c.ts", tmp_path / "a.ts", tmp_path / "b.ts")
    frames, reader = frames_of(tmp_path / "c.ts", on_error="continue")
    assert [number_of(frame.image) for frame in frames] == [*range(25), *range(25)]
    assert {later - earlier for earlier, later in pairwise(seconds(frames))} == {SLOT}
    assert len(reader.restarts.restarts) == 1


@pytest.mark.parametrize("milliseconds", [-7200_000, (1 << 32) - 7200_000, 30_000_000])
def test_flash_video_whose_clock_jumps(tmp_path: Path, milliseconds: int) -> None:
    record(tmp_path / "a.flv", codec="flv", count=10, options={"g": "5"})
    move_flv_times(tmp_path / "a.flv", first=lambda number: 7200_000 + (milliseconds if number >= 5 else 0))
    frames, reader = frames_of(tmp_path / "a.flv")
    assert [round((later - earlier) * 1000) for earlier, later in pairwise(seconds(frames))] == [40] * 9
    assert any("the times after it are continued" in problem for problem in reader.problems)


def test_streams_share_the_shift_of_the_video() -> None:
    log = RestartLog()
    log.restarts += [Restart(Fraction(10), Fraction(1), Fraction(9)), Restart(Fraction(10), Fraction(1), Fraction(9))]
    assert log.shift_at(Fraction("9.9"), Fraction("0.97")) == (9, 1)
    assert log.shift_at(Fraction("9.9"), Fraction("0.97"), first=1) == (9, 2)
    assert log.shift_at(Fraction("9.9"), Fraction("0.97"), first=2) is None
    assert log.shift_at(Fraction("9.9"), Fraction("8.9")) is None
    assert log.shift_at(Fraction("300"), Fraction("291")) is None


def test_one_or_two_frames_back_are_no_restart() -> None:
    base = Fraction(1, 90000)
    assert not is_restart(90000, 90000 - 7200, step=3600, time_base=base)
    assert is_restart(90000, 90000 - 7201, step=3600, time_base=base)
    assert not is_restart(0, 6 * 3600 * 90000, step=3600, time_base=base)
    assert is_restart(0, 6 * 3600 * 90000 + 1, step=3600, time_base=base)
    assert is_restart(0, 1 << 31, step=40_000, time_base=Fraction(1, 1_000_000))


def clocked(own: Sequence[Fraction | None]) -> tuple[list[Fraction], FaultLog, RestartLog]:
    """What a clock makes of frames with the given times."""
    base, faults, log = Fraction(1, 90000), FaultLog("a.ts", stops=True, notes=Notes()), RestartLog()
    frames = []
    for time in own:
        frame = av.VideoFrame.from_ndarray(np.zeros((3, 2), np.uint8), format="yuv420p")
        frame.pts, frame.time_base = None if time is None else round(time / base), base
        PresentationGuess(trusts_pts=True).settle(frame)
        frames.append(frame)
    clock = FrameClock(time_base=base, frame_rate=1 / SLOT, faults=faults, restarts=log)
    return [clock.time_of(frame.pts) * base for frame in clock.begun(iter(frames))], faults, log
