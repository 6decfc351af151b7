"""`fmanet batch` as it is typed: what it takes, what it says beforehand, how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fmanet_cli.cli.main import main
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.weights.checkpoint import CheckpointMetadata, save_checkpoint


@pytest.fixture
def folder(make_clip, tmp_path: Path, tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two clips and weights; the working folder."""
    for name in ("in/a.mp4", "in/deep/b.mp4"):
        make_clip(name, count=2, height=16, width=16)
    save_checkpoint(
        tmp_path / "tiny.safetensors", tiny_model, metadata=CheckpointMetadata(licence="MIT", source="random")
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path


def batch(*words: str) -> Result:
    return CliRunner().invoke(main, ["batch", *words, "--model", "tiny.safetensors", "--precision", "fp32"])


def outputs(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.m*") if ".fmanet" not in str(path))


def test_a_dry_run_says_what_it_takes_and_writes_nothing(folder: Path) -> None:
    (folder / "in/broken.mp4").write_bytes(b"nonsense")
    (folder / "in/notes.txt").touch()
    result = batch("in", "-o", "out", "--dry-run")
    assert result.exit_code == 0, result.output
    assert not (folder / "out").exists()
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if ".mp4" in line}
    assert "16x16 to 64x64" in rows["in/a.mp4"]
    assert " measured" in rows["in/a.mp4"]
    assert " extrapolated" in rows["in/deep/b.mp4"]
    assert "cannot be read: Invalid data" in rows["in/broken.mp4"]
    assert result.stdout.splitlines()[-3] == "2 to restore, 1 that cannot be restored; 4 frames"
    assert re.fullmatch(r"time: about 0:0\d, extrapolated", result.stdout.splitlines()[-2])
    assert result.stdout.splitlines()[-1].startswith("disk: about ")
    assert result.stderr == "1 file of another kind was passed over: .txt (1)\n"


def test_a_disk_that_is_too_small_is_refused_unless_forced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("estimate", "survey"):
        monkeypatch.setattr(f"fmanet_cli.restore.{module}.disk_free", lambda _: 1000)
    for words in (["--dry-run"], []):
        result = batch("in", "-o", "out", *words)
        assert result.exit_code == 7
        assert re.search("disk is too small: about [1-9][0-9]* kB are needed, 1 kB are free", result.stderr), (
            result.stderr
        )
        assert "(--force)" in result.stderr
    assert not (folder / "out").exists()
    result = CliRunner().invoke(main, ["restore", "in/a.mp4", "-o", "a.mp4", "--model", "tiny.safetensors"])
    assert (result.exit_code, (folder / "a.mp4").exists()) == (7, False)
    assert batch("in", "-o", "out", "--force").exit_code == 0
    assert outputs(folder / "out") == ["a.mp4", "deep/b.mp4"]


def test_a_list_of_jobs(folder: Path) -> None:
    (folder / "jobs.txt").write_text("# mine\nin/a.mp4\n\n  in/deep/b.mp4  \n")
    assert batch("--jobs-file", "jobs.txt", "-o", "out", "--suffix", "_x").exit_code == 0
    assert outputs(folder / "out") == ["a_x.mp4", "b_x.mp4"]


@pytest.mark.parametrize("coding", ["utf-16", "utf-8-sig"])
@pytest.mark.parametrize("between", [";", "\t", ","])
def test_a_table_of_jobs_as_spreadsheets_write_it(folder: Path, coding: str, between: str) -> None:
    rows = [("source", "output", "crf"), ("in/a.mp4", "ä.mp4", "20")]
    (folder / "jobs.csv").write_bytes("\r\n".join(between.join(row) for row in rows).encode(coding))
    result = batch("--jobs-file", "jobs.csv", "-o", "out", "--dry-run")
    assert "1 to restore; 2 frames" in result.stdout, result.output


def test_tables_cut_no_name_in_a_narrow_terminal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (folder / "in/holiday in the mountains, part two.mp4").write_bytes(b"nonsense")
    for result in (batch("in", "-o", "out", "--dry-run"), batch("in", "-o", "out")):
        assert "…" not in result.output
        assert max(map(len, result.output.splitlines())) <= 80
        assert "part two.mp4" in result.output
        assert "cannot" in result.output
    assert "model tiny.safetensors on" in result.output
    assert "3 videos" in result.output


def test_a_table_of_jobs_with_options_of_their_own(folder: Path) -> None:
    (folder / "jobs.csv").write_text(
        "source, scale, crf, start, end, output, source-look, encoder-option\n"
        "in/a.mp4, 1, 30, , 0:00.03, small/one.mkv, camera, tune=grain x264-params=ref=1\n"
        "in/deep/b.mp4,,,,,,,\n"
    )
    result = batch("--jobs-file", "jobs.csv", "-o", "out", "--crf", "20", "--report", "report.json")
    assert result.exit_code == 0, result.output
    assert outputs(folder / "out") == ["b.mp4", "small/one.mkv"]
    files = json.loads((folder / "report.json").read_text())["files"]
    assert [(file["state"], file["run"]["target_size"]) for file in files] == [("done", [16, 16]), ("done", [64, 64])]
    assert [file["run"]["source_look"] for file in files] == ["camera", "plain"]
    records = [json.loads(path.read_text()) for path in (folder / "out/.fmanet").rglob("*.json")]
    encoders = [record["choices"]["options"]["encoder"] for record in records]
    assert sorted((encoder["crf"], encoder["extra"].get("tune")) for encoder in encoders) == [(20, None), (30, "grain")]
    before = [(folder / "out" / name).read_bytes() for name in ("b.mp4", "small/one.mkv")]
    result = CliRunner().invoke(main, ["restore", "--from-report", "report.json", "--overwrite"])
    assert result.exit_code == 0, result.output
    assert (folder / "out/b.mp4").read_bytes() == before[0]
    with VideoReader(folder / "out/small/one.mkv") as reader:
        assert (reader.info.width, len(list(reader))) == (16, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "jobs.csv lists no video"),
        ("source;crf\nin/a.mp4;high\n", "line 2: crf: 'high' is not a valid"),
        ("source,crf\nin/a.mp4,high\n", "jobs.csv, line 2: crf: 'high' is not a valid"),
        ("source,scale\nin/a.mp4\n", "line 2: it has another number of fields than the heading"),
        ("source,scale\n,4\n", "line 2: it names no source"),
        ("source,model\nin/a.mp4,reds\n", "line 2: model is no option of a single file; use source, output, audio"),
        ("source,overwrite\nin/a.mp4,yes\n", "overwrite is no option of a single file"),
        ("source,output\nin/a.mp4,x.mp4\nin/deep/b.mp4,x.mp4\n", "would both become out/x.mp4"),
        ("in/a.mp4\nin/deep/b.mp4\nin/a.mp4\n", "jobs.csv: in/a.mp4 is named twice and would become out/a.mp4"),
        ("source,crf\nin/a.mp4,20\n./in/a.mp4,30\n", "in/a.mp4 is named twice"),
    ],
)
def test_a_wrong_list_is_refused_before_the_work(folder: Path, text: str, expected: str) -> None:
    (folder / "jobs.csv").write_text(text)
    result = batch("--jobs-file", "jobs.csv", "-o", "out", "--dry-run")
    assert result.exit_code == 2
    assert expected in result.output
    assert not (folder / "out").exists()


@pytest.mark.parametrize("mark", ["'", '"'])
def test_quotes_around_a_listed_path_are_no_part_of_it(folder: Path, mark: str) -> None:
    odd = folder / f"{mark}odd.mp4{mark}"
    odd.write_bytes((folder / "in/a.mp4").read_bytes())
    (folder / "jobs.txt").write_text(f"{mark}in/a.mp4{mark}\n{odd.name}\n")
    result = batch("--jobs-file", "jobs.txt", "-o", "out")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (folder / "out").glob("[!.]*")} == {"a.mp4", odd.with_suffix(".mkv").name}


def test_some_files_failed(folder: Path) -> None:
    (folder / "in/broken.mp4").write_bytes(b"nonsense")
    result = batch("in", "-o", "out", "--progress", "json")
    assert result.exit_code == 1
    ends = [json.loads(line) for line in result.stderr.splitlines() if '"event": "end"' in line]
    assert [(Path(end["source"]).name, end["state"]) for end in ends] == [
        ("a.mp4", "done"),
        ("broken.mp4", "failed"),
        ("b.mp4", "done"),
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "give INPUT, a folder above all, or --jobs-file"),
        (["in", "--watch", "--dry-run"], "--watch does not know what will come"),
        (["in/x.mp4"], "in/x.mp4 does not exist"),
        (["in", "--suffix", "a/b"], "cannot hold a folder"),
        (["in", "--include", "deep/*"], "'deep/*' holds a folder"),
        (["in", "--exclude", "deep/*"], "'deep/*' holds a folder"),
        (["in", "--include", "*.zzz"], "none of the 2 videos in in "),
        (["in", "--exclude", "*"], "none of the 2 videos in in "),
    ],
)
def test_what_cannot_be_meant_is_refused(folder: Path, words: list[str], expected: str) -> None:
    result = batch(*words, "-o", "out")
    assert result.exit_code == 2
    assert expected in result.stderr


def test_a_report_of_a_batch_can_be_repeated(folder: Path) -> None:
    assert batch("in", "-o", "out", "--scale", "1", "--report", "report.json").exit_code == 0
    before = (folder / "out/a.mp4").read_bytes()
    result = CliRunner().invoke(main, ["restore", "--from-report", "report.json", "--overwrite"])
    assert result.exit_code == 0, result.output
    assert (folder / "out/a.mp4").read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="as POSIX systems name it")
def test_low_priority_is_for_the_process_and_its_children() -> None:
    code = (
        "from fmanet_cli.cli.process import take_low_priority; import os, subprocess, sys; take_low_priority();"
        "print(os.nice(0), getattr(os, 'sched_getscheduler', lambda _: None)(0) == getattr(os, 'SCHED_IDLE', None));"
        "sys.stdout.flush(); subprocess.run([sys.executable, '-c', 'import os; print(os.nice(0))'])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["19", "True", "19"]
