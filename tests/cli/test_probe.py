"""`fmanet probe` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fmanet_cli.cli.main import main
from support.clips import make_clip
from support.command_line import fmanet


@pytest.fixture
def rich_clip(tmp_path: Path) -> Path:
    path = tmp_path / "a.mkv"
    make_clip(
        path,
        audio=["aac", "flac"],
        subtitles=[(0.1, 0.3, "one")],
        chapters=[(0, 0.2, "Start [1]")],
        attachment=b"font",
        metadata={"title": "Holiday"},
        tags=(1, 1, 1, 1),
    )
    return path


def test_tables_for_people(rich_clip: Path) -> None:
    result = fmanet("probe", rich_clip)
    assert result.exit_code == 0, result.output
    for text in ("h264, 160x90, yuv420p, 8 bits", "25 frames/s", "Start [1]", "Holiday", "font.ttf", "fra", "flac"):
        assert text in result.stdout
    assert "nothing would be lost in matroska" in result.stdout


def test_a_long_path_is_folded_and_not_cut_off(tmp_path: Path) -> None:
    path = tmp_path / f"{'long' * 30}.mp4"
    make_clip(path, count=1, height=16, width=16)
    result = CliRunner().invoke(main, ["probe", str(path)], env={"COLUMNS": "80"})
    assert str(path) in "".join(line.strip() for line in result.stdout.splitlines())


@pytest.mark.parametrize(
    ("target", "container", "lost"),
    [
        ("mkv", "matroska", []),
        ("mp4", "mp4", ["attachment font.ttf is left out: mp4 cannot hold it"]),
        (
            "mov",
            "mov",
            [
                "audio stream 2 (flac, fra) becomes aac: mov cannot hold it as it is",
                "attachment font.ttf is left out: mov cannot hold it",
            ],
        ),
        ("png", "an image sequence", ["sound and other streams are left out: an image sequence cannot hold them"]),
    ],
)
def test_losses_are_the_writers_own_warnings(rich_clip: Path, target: str, container: str, lost: list[str]) -> None:
    before = sorted(rich_clip.parent.iterdir())
    result = fmanet("probe", rich_clip, "--target", target, "--json")
    told = json.loads(result.stdout)
    assert told["losses"] == {"container": container, "lost": lost, "refusal": ""}
    assert sorted(rich_clip.parent.iterdir()) == before


def test_json_has_exact_numbers(rich_clip: Path) -> None:
    told = json.loads(fmanet("probe", rich_clip, "--json").stdout)
    assert told["container"] == "matroska"
    assert told["info"]["time_base"] == "1/1000"
    assert told["info"]["colour"]["matrix"] == 1
    assert [track["kind"] for track in told["tracks"]] == ["video", "audio", "audio", "subtitle", "attachment"]
    assert told["tracks"][2]["language"] == "fra"
    assert told["size_bytes"] == rich_clip.stat().st_size


def test_a_container_that_is_only_read_is_restored_into_matroska(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.avi", codec="mpeg4", audio=["mp2"])
    told = json.loads(fmanet("probe", tmp_path / "a.avi", "--json").stdout)
    assert (told["container"], told["losses"]["container"]) == ("avi", "matroska")


def test_unknown_targets_and_files(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", count=1)
    assert fmanet("probe", tmp_path / "a.mp4", "--target", "laserdisc").exit_code == 2
    assert fmanet("probe", tmp_path / "none.mp4").exit_code == 3


def test_help_does_not_wait_for_torch() -> None:
    for name in ("probe", "verify"):
        script = (
            f"import sys, fmanet_cli.cli.main as m\ntry: m.main(['{name}', '--help'])\n"
            "except SystemExit: sys.exit('torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert "Example" in done.stdout
