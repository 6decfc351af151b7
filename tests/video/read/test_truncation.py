"""Truncation is seen in the bytes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fmanet_cli.errors import VideoReadError
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.read.truncation import missing_bytes
from support.clips import cut_short, make_clip, make_gif
from support.odd_clips import record


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi", "a.ts", "a.nut"])
def test_whole_files_lack_nothing(tmp_path: Path, name: str) -> None:
    make_clip(tmp_path / name, audio=["aac"] if name.endswith(("mp4", "mkv")) else [])
    assert missing_bytes(tmp_path / name) == 0


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi"])
def test_missing_bytes_are_counted_where_the_container_says_its_size(tmp_path: Path, name: str) -> None:
    make_clip(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / f"cut_{name}").write_bytes(content[:-50])
    assert missing_bytes(tmp_path / f"cut_{name}") == 50


RECORDINGS: dict[str, dict[str, Any]] = {
    "a.flv": {"codec": "flv1", "sound": "libmp3lame", "sound_seconds": 1},
    "b.flv": {"codec": "libx264", "muxer": {"flvflags": "no_duration_filesize"}},
    "a.rm": {"codec": "rv10"},
    "a.ogv": {"codec": "libvpx", "form": "ogg", "sound": "libopus", "sound_seconds": 1, "sound_rate": 48000},
    "a.mxf": {"codec": "mpeg2video", "count": 50},
    "a.vob": {"codec": "mpeg2video", "count": 50},
    "a.mpg": {"codec": "mpeg2video", "sound": "mp2", "sound_seconds": 1},
    "a.dv": {"codec": "dvvideo", "size": (576, 720)},
    "a.y4m": {"codec": "rawvideo", "size": (35, 47)},
    "b.y4m": {"codec": "rawvideo", "pix_fmt": "yuv422p10le", "muxer": {"strict": "-1"}},
    "c.y4m": {"codec": "rawvideo", "pix_fmt": "gray", "muxer": {"strict": "-1"}},
    "a.m2ts": {"codec": "libx264"},
    "a.wmv": {"codec": "wmv2"},
    "a.trp": {"codec": "libx264", "form": "mpegts"},
}


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("share", [1.0, 0.95, 0.83, 0.5])
def test_a_recording_that_is_cut_short_is_told_from_a_whole_one(tmp_path: Path, name: str, share: float) -> None:
    record(tmp_path / name, **RECORDINGS[name])
    content = (tmp_path / name).read_bytes()
    # An odd number of bytes is no number of whole packets.
    kept = len(content) if share == 1 else int(len(content) * share) // 2 * 2 + 1
    (tmp_path / f"cut_{name}").write_bytes(content[:kept])
    assert bool(missing_bytes(tmp_path / f"cut_{name}")) == (share < 1)
    if share == 0.83:
        with pytest.raises(VideoReadError, match=r"cut short: its end \(\d+ bytes or more\)"):
            VideoReader(tmp_path / f"cut_{name}")


@pytest.mark.parametrize(
    ("head", "frame"),
    [
        (b"\x1f\x07\x00\x3f" + bytes(119_996), b"\x1f\x07\x00\x3f" + bytes(119_996)),
        (b"YUV4MPEG2 W9 H5 F25:1 C411\n", b"FRAME\n" + bytes(9 * 5 + 2 * 3 * 5)),
        (b"YUV4MPEG2 H5 W9\n", b"FRAME\n" + bytes(9 * 5 + 2 * 5 * 3)),
        (b"YUV4MPEG2 H5 W9 C444p12 XYSCSS=444P12\n", b"FRAME\n" + bytes(2 * 3 * 9 * 5)),
        (b"YUV4MPEG2 H5 W9 Cmono16\n", b"FRAME\n" + bytes(2 * 9 * 5)),
    ],
)
def test_frames_of_one_size(tmp_path: Path, head: bytes, frame: bytes) -> None:
    for missing in (0, 1, len(frame) - 1):
        (tmp_path / "a").write_bytes((head + 7 * frame)[: -missing or None])
        assert missing_bytes(tmp_path / "a") == missing


@pytest.mark.parametrize("share", [1.0, 0.95, 0.9, 0.5])
def test_a_gif_without_the_byte_that_ends_it_is_cut_short(tmp_path: Path, share: float) -> None:
    make_gif(tmp_path / "a.gif")
    content = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(content[: int(len(content) * share)])
    assert bool(missing_bytes(tmp_path / "cut.gif")) == (share < 1)
    (tmp_path / "cut.gif").write_bytes(content[:-1])
    assert missing_bytes(tmp_path / "cut.gif") == 1
    (tmp_path / "padded.gif").write_bytes(content + bytes(3))
    assert missing_bytes(tmp_path / "padded.gif") == 0


def test_a_program_stream_that_says_its_end_is_whole(tmp_path: Path) -> None:
    record(tmp_path / "a.vob", **RECORDINGS["a.vob"])
    with (tmp_path / "a.vob").open("ab") as file:
        file.write(b"\0\0\1\xb9")
    assert missing_bytes(tmp_path / "a.vob") == 0


def test_half_a_packet_of_a_transport_stream_is_seen(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.ts")
    (tmp_path / "cut.ts").write_bytes((tmp_path / "a.ts").read_bytes()[:-88])
    assert missing_bytes(tmp_path / "cut.ts") == 88


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    for number, content in enumerate([b"", b"short", b"plain text of some length\n", bytes(100)]):
        (tmp_path / f"{number}").write_bytes(content)
        assert missing_bytes(tmp_path / f"{number}") == 0
    make_clip(tmp_path / "a.mp4")
    cut_short(tmp_path / "a.mp4", tmp_path / "b.mp4", 0.9)
    assert missing_bytes(tmp_path / "b.mp4") > 0
