"""Truncation is seen in the bytes alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmanet_cli.video.read.truncation import missing_bytes
from support.clips import cut_short, make_clip


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
