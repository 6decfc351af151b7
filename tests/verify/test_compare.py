"""A verification says `same` for a whole copy, and names what is wrong with any other."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import OptionError, VerificationError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.job import RestoreJob, restore_video
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.verify.compare import Expectation, verify
from fmanet_cli.verify.result import Verdict, VerificationResult
from fmanet_cli.video.frames import Frame
from fmanet_cli.video.write.codecs import EncoderOptions
from fmanet_cli.video.write.writer import VideoWriter
from fmanet_cli.weights.checkpoint import load_model
from support.clips import damage, make_clip, make_interlaced
from support.tampering import enlarged_copy, remuxed

MakeClip = Callable[..., Path]
DOUBLE = Expectation(scale=2)
VARIABLE = {"pts": [0, 3000, 6100, 9050, 15000, 15900, 24000, 27000], "time_base": Fraction(1, 90000)}


def wrong(result: VerificationResult) -> dict[str, tuple[str, str]]:
    return {row.what: (row.source, row.output) for row in result.differences}


def without(number: int) -> Callable[[list[Frame]], list[Frame]]:
    return lambda frames: frames[:number] + frames[number + 1 :]


def moved(number: int, ticks: int) -> Callable[[list[Frame]], list[Frame]]:
    def change(frames: list[Frame]) -> list[Frame]:
        frame = frames[number]
        frames[number] = Frame(frame.image, frame.pts + ticks, frame.time_base, frame.duration)
        return frames

    return change


def longer_end(frames: list[Frame]) -> list[Frame]:
    last = frames[-1]
    return [*frames[:-1], Frame(last.image, last.pts, last.time_base, last.duration * 3)]


@pytest.mark.parametrize(
    ("clip", "target", "converted", "lost"),
    [
        ({"name": "a.mp4", "audio": ["aac"], "metadata": {"title": "T"}}, "b.mp4", [], []),
        ({"name": "a.mp4", **VARIABLE}, "b.mkv", [], []),
        ({"name": "a.mkv", "audio": ["flac"], "subtitles": [(0.1, 0.3, "one")]}, "b.mp4", ["subtitle stream 2"], []),
        ({"name": "a.mp4", "rotation": 90}, "b.nut", ["rotation"], []),
        ({"name": "a.mkv", "attachment": b"font"}, "b.mp4", [], ["attachment stream 1 (font.ttf)"]),
        ({"name": "a.mp4", "chapters": [(0, 0.2, "x")]}, "b.ts", [], ["video flags", "chapters"]),
        ({"name": "a.mp4", **VARIABLE}, "b.ts", [], ["last frame duration", "duration", "video flags"]),
        ({"name": "a.ts", "audio": ["aac"]}, "b.mp4", ["start"], []),
        ({"name": "a.mov", "audio": ["pcm_s16le"]}, "b.mkv", [], []),
        ({"name": "a.mkv", "audio": ["pcm_s16le"]}, "b.mov", [], []),
        ({"name": "a.mp4", "pts": [0, 512, 9000], "tags": (6, 1, 6, 6)}, "b.y4m", [], ["timestamps", "colour matrix"]),
    ],
)
def test_a_whole_copy_has_no_difference(
    tmp_path: Path, clip: dict[str, Any], target: str, converted: list[str], lost: list[str]
) -> None:
    source = tmp_path / clip.pop("name")
    make_clip(source, **clip)
    enlarged_copy(source, tmp_path / target)
    result = verify(source, tmp_path / target, expectation=DOUBLE)
    assert wrong(result) == {}
    changed = [row.what for row in result.rows if row.verdict is Verdict.CONVERTED]
    assert [what.split(" (")[0] for what in changed if what != "start" or "start" in converted] == converted
    assert [row.what for row in result.losses][: len(lost)] == lost


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        ({"change": without(5)}, {"frames": ("12", "11"), "timestamps": "11, frame 5 of 0.200 s is missing"}),
        (
            {"change": without(11)},
            {"frames": ("12", "11"), "timestamps": "11, frame 11 of 0.440 s is missing", "duration": "0.440 s"},
        ),
        ({"change": moved(5, 40)}, {"timestamps": "1 wrong: frame 5 of 0.200 s at 0.203125 s"}),
        ({"change": moved(5, 1)}, {"timestamps": "1 wrong: frame 5 of 0.200 s at 0.200078 s"}),
        ({"change": longer_end}, {"last frame duration": ("0.040 s", "0.120 s"), "duration": ("0.480 s", "0.560 s")}),
        ({"audio": "none"}, {"audio stream 1 (aac, eng)": ("there", "not there")}),
        ({"like": {"chapters": ()}}, {"chapters": ("2", "0")}),
        ({"like": {"metadata": {}}}, {"tags": ("1", "0"), "tag title": ("T", "not there")}),
        ({"like": {"metadata": {"title": "U"}}}, {"tags": ("1", "0"), "tag title": ("T", "U")}),
        ({"like": {"display_matrix": None}}, {"rotation": "none"}),
        ({"like": {"sample_aspect_ratio": Fraction(1)}}, {"pixel shape": ("64/45", "1")}),
        ({"like": {"disposition": 64}}, {"video flags": ("default", "default forced")}),
        ({"scale": 1}, {"size": ("320x180, 2 times 160x90", "160x90")}),
    ],
)
def test_one_wrong_thing_is_found(tmp_path: Path, change: dict[str, Any], rows: dict[str, Any]) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    make_clip(
        source,
        audio=["aac"],
        chapters=[(0, 0.2, "one"), (0.2, 0.48, "two")],
        metadata={"title": "T"},
        rotation=90,
        sample_aspect_ratio=Fraction(64, 45),
    )
    enlarged_copy(source, target, **change)
    found = wrong(verify(source, target, expectation=DOUBLE))
    assert set(found) == set(rows)
    for what, texts in rows.items():
        assert found[what] == texts if isinstance(texts, tuple) else found[what][1] == texts


@pytest.mark.parametrize(
    ("field", "value", "row", "texts"),
    [
        ("matrix", 6, "colour matrix", ("1", "6")),
        ("full_range", True, "colour range", ("limited", "full")),
        ("primaries", 9, "colour primaries", ("1", "9")),
        ("transfer", 16, "colour transfer", ("1", "16")),
    ],
)
def test_a_wrong_colour_tag_is_found(tmp_path: Path, field: str, value: int, row: str, texts: tuple[str, str]) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    make_clip(source, tags=(1, 1, 1, 1))
    info, _ = enlarged_copy(source, target)
    assert wrong(verify(source, target, expectation=DOUBLE)) == {}
    enlarged_copy(source, target, like={"colour": replace(info.colour, **{field: value})})
    assert wrong(verify(source, target, expectation=DOUBLE)) == {row: texts}


def test_a_lost_bit_depth_is_found(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mkv", codec="ffv1", pix_fmt="yuv420p10le")
    enlarged_copy(tmp_path / "a.mkv", tmp_path / "b.mp4", like={"bit_depth": 8})
    result = verify(tmp_path / "a.mkv", tmp_path / "b.mp4", expectation=DOUBLE)
    assert wrong(result) == {"bit depth": ("10", "8")}
    eight = replace(DOUBLE, encoder=EncoderOptions(pix_fmt="yuv420p"))
    assert wrong(verify(tmp_path / "a.mkv", tmp_path / "b.mp4", expectation=eight)) == {}


def changed_byte(packet: av.Packet) -> av.Packet:
    if packet.stream.type != "audio" or not packet.pts or packet.pts < 200:
        return packet
    payload = bytearray(bytes(packet))
    payload[-1] ^= 1
    changed = av.Packet(bytes(payload))
    changed.pts, changed.dts, changed.duration = packet.pts, packet.dts, packet.duration
    changed.time_base, changed.is_keyframe = packet.time_base, packet.is_keyframe
    return changed


def late_sound(packet: av.Packet) -> av.Packet:
    if packet.stream.type == "audio":
        packet.pts, packet.dts = packet.pts + 20, packet.dts + 20
    return packet


def in_german(stream: Any) -> None:
    if stream.type == "audio":
        stream.metadata["language"] = "ger"


def forced(stream: Any) -> None:
    if stream.type == "audio":
        stream.disposition = av.stream.Disposition.forced


def titled(stream: Any) -> None:
    if stream.type == "audio":
        stream.metadata["title"] = "Commentary"


SOUND = "audio stream 1 (flac, eng)"


@pytest.mark.parametrize(
    ("tampering", "row", "output"),
    [
        ({"packet": changed_byte}, f"{SOUND} packets", "other content"),
        ({"packet": late_sound}, f"{SOUND} timestamps", "wrong: packet 0 of 0.000 s at 0.020 s"),
        ({"stream": in_german}, f"{SOUND} language", "deu"),
        ({"stream": forced}, f"{SOUND} flags", "forced"),
        ({"stream": titled}, f"{SOUND} title", "Commentary"),
    ],
)
def test_a_wrong_copied_stream_is_found(tmp_path: Path, tampering: dict[str, Any], row: str, output: str) -> None:
    source, good, bad = (tmp_path / name for name in ("a.mkv", "b.mkv", "c.mkv"))
    make_clip(source, audio=["flac"])
    enlarged_copy(source, good)
    remuxed(good, tmp_path / "same.mkv")
    assert wrong(verify(source, tmp_path / "same.mkv", expectation=DOUBLE)) == {}
    remuxed(good, bad, **tampering)
    found = wrong(verify(source, bad, expectation=DOUBLE))
    assert list(found) == [row]
    assert output in found[row][1]


def test_tracks_are_matched_by_content_not_by_place(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mkv", audio=["flac", "flac", "flac"])
    enlarged_copy(tmp_path / "a.mkv", tmp_path / "b.mkv")
    result = verify(tmp_path / "a.mkv", tmp_path / "b.mkv", expectation=DOUBLE)
    assert len({row.source for row in result.rows if row.what.endswith("language")}) == 3
    make_clip(tmp_path / "one.mkv", audio=["flac"])
    found = wrong(verify(tmp_path / "a.mkv", tmp_path / "one.mkv", expectation=Expectation(scale=1)))
    assert [what for what in found if "stream" in what] == ["audio stream 2 (flac, fra)", "audio stream 3 (flac, deu)"]
    extra = wrong(verify(tmp_path / "one.mkv", tmp_path / "a.mkv", expectation=Expectation(scale=1)))
    assert extra["audio stream 2 (flac, fra)"] == ("not there", "there")


def test_a_missing_or_changed_attachment_is_found(tmp_path: Path) -> None:
    for name, content in (("a.mkv", b"font"), ("other.mkv", b"tnof"), ("none.mkv", None)):
        make_clip(tmp_path / name, attachment=content, tags=(1, 1, 1, 1))
    whole = Expectation(scale=1)
    assert wrong(verify(tmp_path / "a.mkv", tmp_path / "a.mkv", expectation=whole)) == {}
    for name in ("other.mkv", "none.mkv"):
        found = wrong(verify(tmp_path / "a.mkv", tmp_path / name, expectation=whole))
        assert found["attachment stream 1 (font.ttf)"][1] != found["attachment stream 1 (font.ttf)"][0]


def test_matroska_may_round_to_its_millisecond_and_no_more(tmp_path: Path) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "b.mkv"
    make_clip(source, count=24, rate=Fraction(24000, 1001))
    enlarged_copy(source, target)
    assert wrong(verify(source, target, expectation=DOUBLE)) == {}
    enlarged_copy(source, target, change=moved(5, 25_000))
    assert list(wrong(verify(source, target, expectation=DOUBLE))) == ["timestamps"]


@pytest.mark.parametrize("ticks_back", [199, 200, 230])
def test_a_packet_with_a_wrong_time_stands_where_its_frame_is_shown(tmp_path: Path, ticks_back: int) -> None:
    """Sorted, the times of the packets would rise; the frame is decoded as the tenth all the same."""
    whole, source = tmp_path / "whole.mkv", tmp_path / "a.mkv"
    make_clip(whole, count=20, options={"bf": "0"})
    numbers = itertools.count()

    def late(packet: av.Packet) -> av.Packet:
        number = next(numbers)
        packet.pts, packet.dts = packet.pts - (ticks_back if number == 9 else 0), number - 1000
        return packet

    remuxed(whole, source, packet=late)
    enlarged_copy(source, tmp_path / "b.mp4")
    result = verify(source, tmp_path / "b.mp4", expectation=DOUBLE)
    assert wrong(result) == {}
    assert result.source_times == "decoded"
    enlarged_copy(source, tmp_path / "b.mp4", change=moved(15, 8))
    assert list(wrong(verify(source, tmp_path / "b.mp4", expectation=DOUBLE))) == ["timestamps"]


def test_damaged_frames_of_the_output_are_found_by_decoding(tmp_path: Path) -> None:
    source, good, bad = (tmp_path / name for name in ("a.mp4", "b.mkv", "c.mkv"))
    make_clip(source, count=40)
    enlarged_copy(source, good)
    damage(good, bad, at=0.6, length=900)
    assert "damaged places" in wrong(verify(source, bad, expectation=DOUBLE))
    quick = verify(source, bad, expectation=DOUBLE, decodes=False)
    assert quick.output_times == "packets"
    assert "damaged places" not in wrong(quick)


@pytest.mark.parametrize(
    "settings",
    [
        {"start_seconds": 3, "end_seconds": 4.5},
        {"start_seconds": 0.2},
        {"end_seconds": 1.1},
        {"audio": "aac"},
        {"audio": "none"},
    ],
)
def test_what_was_promised_is_compared(tmp_path: Path, settings: dict[str, Any]) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    chapters = [(0, 2, "before"), (2, 5, "across"), (5, 6, "after")]
    make_clip(source, count=150, audio=["aac"], chapters=chapters, subtitles=[(1, 3.5, "long"), (5, 6, "late")])
    read = {key: value for key, value in settings.items() if key != "audio"}
    enlarged_copy(source, target, read=read, audio=settings.get("audio", "copy"))
    assert wrong(verify(source, target, expectation=Expectation(scale=2, **settings))) == {}
    assert wrong(verify(source, target, expectation=DOUBLE)) != {} or settings == {"audio": "aac"}


def test_interlaced_sources_and_image_sequences(tmp_path: Path) -> None:
    make_interlaced(tmp_path / "a.mp4")
    enlarged_copy(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert wrong(verify(tmp_path / "a.mp4", tmp_path / "b.mp4", expectation=DOUBLE)) == {}
    (tmp_path / "frames").mkdir()
    pattern = tmp_path / "frames" / "%03d.png"
    make_clip(tmp_path / "c.mkv", audio=["flac"], metadata={"title": "T"})
    enlarged_copy(tmp_path / "c.mkv", pattern)
    result = verify(tmp_path / "c.mkv", pattern, expectation=DOUBLE)
    assert wrong(result) == {}
    assert [row.what for row in result.losses] == ["other streams", "tags", "tag title"]
    (tmp_path / "frames" / "012.png").unlink()
    assert wrong(verify(tmp_path / "c.mkv", pattern, expectation=DOUBLE))["frames"] == ("12", "11")


def test_pipes_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="verify needs two files"):
        verify("-", tmp_path / "b.mp4")


def test_a_run_carries_its_verification(make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet) -> None:
    report = restore_video(make_clip(count=3), tmp_path / "out.mp4", tiny_model)
    assert report.verification is not None
    assert report.verification.differences == ()
    assert report.verification.output == str(tmp_path / "out.mp4")
    assert json.loads(json.dumps(report.as_dict()))["verification"]["ok"] is True
    settings = RestoreSettings(verify=False, overwrite=True)
    again = restore_video(tmp_path / "clip.mp4", tmp_path / "out.mp4", tiny_model, settings=settings)
    assert again.verification is None


def test_a_wrong_file_never_gets_the_final_name(
    make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, folder = make_clip(count=6), tmp_path / "out"
    folder.mkdir()
    write, seen = VideoWriter.write, []

    def forgetful(self: VideoWriter, frame: Frame) -> None:
        seen.append(frame.pts)
        if len(seen) != 3:
            write(self, frame)

    monkeypatch.setattr(VideoWriter, "write", forgetful)
    job = RestoreJob(source, folder / "out.mp4", Restorer(tiny_model, device="cpu"))
    with pytest.raises(VerificationError, match=r"frames 6 became 5; .*kept as .*out\.rejected\.mp4") as failure:
        for _ in job.run():
            pass
    assert failure.value.exit_code == 6
    assert "out.rejected.mp4" in [path.name for path in folder.iterdir()]
    assert not (folder / "out.mp4").exists()
    assert job.report is None
    assert job.verification is not None
    assert wrong(job.verification)["frames"] == ("6", "5")


def test_good_frames_of_a_damaged_source_are_what_is_promised(tmp_path: Path) -> None:
    make_clip(tmp_path / "whole.mp4", count=20, height=48, width=64)
    damage(tmp_path / "whole.mp4", tmp_path / "a.mp4", at=0.5, length=400)
    report = restore_video(
        tmp_path / "a.mp4", tmp_path / "b.mp4", load_model("lite"), settings=RestoreSettings(on_error="continue")
    )
    assert report.verification is not None
    assert report.verification.differences == ()
    assert report.verification.source_times == "run"
    assert "damaged" in report.verification.notes[0]


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffprobe")
@pytest.mark.parametrize("target", ["b.mp4", "b.mkv"])
def test_ffprobe_agrees(tmp_path: Path, target: str) -> None:
    source = tmp_path / "a.mkv"
    make_clip(source, audio=["aac", "flac"], subtitles=[(0.1, 0.3, "one")], tags=(1, 1, 1, 1))
    enlarged_copy(source, tmp_path / target)
    assert wrong(verify(source, tmp_path / target, expectation=DOUBLE)) == {}
    before, after = (_probed(path) for path in (source, tmp_path / target))
    assert after["frames"] == before["frames"]
    assert after["sound"] == before["sound"]
    assert after["colours"] == before["colours"] == ("bt709", "tv", "bt709", "bt709")


def _probed(path: Path) -> dict[str, Any]:
    """Frame times, sound packets with their digests, and colour tags as FFmpeg's own program reads them."""
    words = ["ffprobe", "-v", "error", "-of", "json", "-show_data_hash", "sha256"]
    shown = ["-show_packets", "-show_frames", "-show_streams"]
    done = subprocess.run([*words, *shown, str(path)], capture_output=True, check=True, text=True)
    found = json.loads(done.stdout)
    items = found["packets_and_frames"]
    video = found["streams"][0]
    return {
        "frames": [i["pts_time"] for i in items if i["type"] == "frame" and i.get("media_type") == "video"],
        "sound": sorted(
            (i["stream_index"], i["pts_time"], i["data_hash"])
            for i in items
            if i["type"] == "packet" and i["codec_type"] == "audio"
        ),
        "colours": tuple(video[f"color_{name}"] for name in ("space", "range", "primaries", "transfer")),
    }
