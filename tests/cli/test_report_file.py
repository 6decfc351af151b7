"""A report never costs another file: not a source, an output, weights, a device, nor what is no report."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from fmanet_cli.cli.report_file import ReportFile, json_with
from fmanet_cli.errors import OptionError, OutputExistsError, VideoWriteError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.weights.checkpoint import CheckpointMetadata, save_checkpoint
from support.command_line import fmanet

IS_OWN = json_with("format", "files")
OWN = '{"format": 1, "files": []}\n'


@pytest.fixture
def folder(make_clip, tmp_path: Path, tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources under several names, weights, a list of cuts and somebody's notes; the working folder."""
    make_clip("a.mp4", count=1, height=16, width=16)
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    os.link(tmp_path / "a.mp4", tmp_path / "hard.mp4")
    (tmp_path / "later.json").symlink_to("out.mp4")
    (tmp_path / "cuts.txt").write_text("0\n")
    (tmp_path / "notes.json").write_text('{"mine": 1}')
    (tmp_path / "sub").mkdir()
    save_checkpoint(
        tmp_path / "tiny.safetensors", tiny_model, metadata=CheckpointMetadata(licence="MIT", source="random")
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "report",
    [
        "a.mp4",
        "./sub/../a.mp4",
        "link.mp4",
        "hard.mp4",
        "out.mp4",
        "later.json",
        "tiny.safetensors",
        "cuts.txt",
        "notes.json",
        "sub",
        ".",
    ],
)
def test_restore_refuses_the_report_before_the_run(folder: Path, report: str) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    words = ("restore", "a.mp4", "-o", "out.mp4", "--model", "tiny.safetensors", "--scene-detect", "cuts.txt")
    result = fmanet(*words, "--report", report)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("option", ["--json", "--csv"])
@pytest.mark.parametrize("report", ["a.mp4", "hard.mp4", "notes.json", "tiny.safetensors", "sub"])
def test_evaluate_refuses_it_too(folder: Path, option: str, report: str) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    words = ("evaluate", "--input", "a.mp4", "--truth", "hard.mp4", "--model", "tiny.safetensors", option, report)
    assert fmanet(*words).exit_code == 2
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("report", ["tiny.safetensors", "notes.json", "sub", "."])
def test_bench_refuses_it_too(folder: Path, report: str) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert fmanet("bench", "--model", "tiny.safetensors", "--json", report).exit_code == 2
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_report_and_video_cannot_share_standard_output() -> None:
    with pytest.raises(OptionError, match="cannot both go to standard output"):
        ReportFile("-", is_own=IS_OWN, used={"output": ["-"]})


def test_an_older_report_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    ReportFile(path, is_own=IS_OWN, used={}).write(OWN)
    ReportFile(path, is_own=IS_OWN, used={}).write('{"format": 1, "files": [1]}')
    assert json.loads(path.read_text())["files"] == [1]
    for other in ("{", "[1]", '{"format": 1}', "text", "[" * 100_000):
        path.write_text(other)
        with pytest.raises(OutputExistsError, match=r"run\.json exists and is no report"):
            ReportFile(path, is_own=IS_OWN, used={})
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(OutputExistsError):
        ReportFile(path, is_own=IS_OWN, used={})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_pipes_and_devices_are_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    file = ReportFile(pipe, is_own=IS_OWN, used={})
    with pytest.raises(VideoWriteError, match="cannot write the report into"):
        file.write(OWN)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    for _ in range(1000):
        try:
            file.write(OWN)
            break
        except VideoWriteError:
            threading.Event().wait(0.01)
    reader.join(10)
    assert read == [OWN]
    assert pipe.is_fifo()
    ReportFile("/dev/null", is_own=IS_OWN, used={}).write(OWN)
    assert Path("/dev/null").is_char_device()
    if Path("/dev/full").exists():
        with pytest.raises(VideoWriteError, match="No space left"):
            ReportFile("/dev/full", is_own=IS_OWN, used={}).write(OWN)
        assert Path("/dev/full").is_char_device()
