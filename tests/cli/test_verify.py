"""`fmanet verify` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.clips import make_clip
from support.command_line import fmanet
from support.tampering import enlarged_copy


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    source, copy = tmp_path / "a.mp4", tmp_path / "b.mp4"
    make_clip(source, audio=["aac"])
    enlarged_copy(source, copy)
    return source, copy


def test_a_whole_copy_exits_0_with_a_table(pair: tuple[Path, Path]) -> None:
    result = fmanet("verify", *pair, "--scale", 2)
    assert result.exit_code == 0, result.output
    lines = {line.split("  ")[0]: line.split()[-1] for line in result.stdout.splitlines() if line.strip()}
    assert {"frames", "timestamps", "duration", "colour matrix", "audio stream 1 (aac, eng) packets"} <= set(lines)
    assert {verdict for name, verdict in lines.items() if name} == {"same"}
    assert result.stderr == ""


def test_a_difference_exits_6_and_is_named(pair: tuple[Path, Path]) -> None:
    result = fmanet("verify", *pair)
    assert result.exit_code == 6
    assert "size 640x360, 4 times 160x90 became 320x180" in result.stderr
    size = next(line for line in result.stdout.splitlines() if line.startswith("size"))
    assert size.split()[-1] == "differs"


def test_json(pair: tuple[Path, Path]) -> None:
    told = json.loads(fmanet("verify", *pair, "--scale", 2, "--json", "--quick").stdout)
    assert (told["ok"], told["source_times"], told["output_times"]) == (True, "packets", "packets")
    assert {"what": "frames", "source": "12", "output": "12", "verdict": "same"} in told["rows"]
    result = fmanet("verify", *pair, "--scale", 2, "--audio", "none", "--json")
    assert result.exit_code == 6
    assert json.loads(result.stdout)["ok"] is False


def test_expected_losses_fail_only_when_strict(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mkv", attachment=b"font")
    enlarged_copy(tmp_path / "a.mkv", tmp_path / "b.mp4")
    words = ("verify", tmp_path / "a.mkv", tmp_path / "b.mp4", "--scale", 2)
    assert fmanet(*words).exit_code == 0
    assert "not kept by the container" in fmanet(*words).stdout
    result = fmanet(*words, "--strict", "--json")
    assert result.exit_code == 6
    assert json.loads(result.stdout)["ok"] is False


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", count=1)
    (tmp_path / "b.mp4").write_text("no video")
    assert fmanet("verify", tmp_path / "a.mp4", tmp_path / "b.mp4").exit_code == 3
    assert fmanet("verify", tmp_path / "a.mp4", tmp_path / "c.mp4").exit_code == 3
    assert fmanet("verify", tmp_path / "a.mp4", "-").exit_code == 2
    assert fmanet("verify", tmp_path / "a.mp4", tmp_path / "a.mp4", "--size", "large").exit_code == 2
