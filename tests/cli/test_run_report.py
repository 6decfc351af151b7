"""`--report`, `--from-report`, `--progress` and `--no-verify` of `fmanet restore`."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from fmanet_cli.cli.progress_lines import stream_batch
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.batch import BatchEvent
from fmanet_cli.restore.inputs import BatchItem
from fmanet_cli.restore.outcome import RestoreProgress
from fmanet_cli.video.frames import Frame
from fmanet_cli.video.write.writer import VideoWriter
from fmanet_cli.weights.checkpoint import CheckpointMetadata, save_checkpoint
from support.command_line import fmanet

MakeClip = Callable[..., Path]


@pytest.fixture
def reported(make_clip: MakeClip, tmp_path: Path, weights: Path) -> dict[str, Any]:
    words = ("-o", tmp_path / "out.mp4", "--model", weights, "--precision", "fp32", "--crf", 21, "-e", "tune=film")
    more = ("--scale", 2, "--strength", 0.75, "--source", "camera", "--report", tmp_path / "run.json")
    result = fmanet("restore", make_clip(count=3), *words, *more)
    assert result.exit_code == 0, result.output
    return json.loads((tmp_path / "run.json").read_text())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def events(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stderr.splitlines()]


def forget_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    write, seen = VideoWriter.write, []

    def forgetful(self: VideoWriter, frame: Frame) -> None:
        seen.append(frame.pts)
        if len(seen) != 2:
            write(self, frame)

    monkeypatch.setattr(VideoWriter, "write", forgetful)


def test_a_report_tells_everything_of_a_run(reported: dict[str, Any], tmp_path: Path, weights: Path) -> None:
    file = reported["files"][0]
    assert (file["source"], file["source_sha256"]) == (str(tmp_path / "clip.mp4"), sha256(tmp_path / "clip.mp4"))
    assert (file["target"], file["target_sha256"]) == (str(tmp_path / "out.mp4"), sha256(tmp_path / "out.mp4"))
    assert (file["state"], file["error"]) == ("done", None)
    assert reported["weights"] == {"name": str(weights), "path": str(weights), "sha256": sha256(weights)}
    assert {"fmanet", "python", "torch", "av", "numpy", "ffmpeg"} <= set(reported["versions"])
    assert reported["engine"]["precision"] == "fp32"
    assert (reported["options"]["crf"], reported["options"]["scale"]) == (21, "2")
    assert reported["options"]["strength"] == file["run"]["strength"] == 0.75
    assert reported["options"]["source_look"] == file["run"]["source_look"] == "camera"
    assert "overwrite" not in reported["options"]
    assert file["run"]["verification"]["ok"] is True
    assert {"what": "frames", "source": "3", "output": "3", "verdict": "same"} in file["run"]["verification"]["rows"]


def test_a_run_is_repeated_from_its_report(reported: dict[str, Any], tmp_path: Path) -> None:
    again = fmanet("restore", "--from-report", tmp_path / "run.json", "-o", tmp_path / "again.mp4", "-q")
    assert again.exit_code == 0, again.output
    assert sha256(tmp_path / "again.mp4") == reported["files"][0]["target_sha256"]
    other = fmanet("restore", "--from-report", tmp_path / "run.json", "-o", tmp_path / "b.mp4", "--crf", 40)
    assert other.exit_code == 0, other.output
    assert (tmp_path / "b.mp4").stat().st_size < (tmp_path / "again.mp4").stat().st_size
    same_place = fmanet("restore", "--from-report", tmp_path / "run.json")
    assert (same_place.exit_code, "out.mp4 exists" in same_place.stderr) == (2, True)


@pytest.mark.usefixtures("reported")
def test_a_changed_source_or_other_weights_are_refused(tmp_path: Path, weights: Path, tiny_model: FMANet) -> None:
    words = ("restore", "--from-report", tmp_path / "run.json", "-o", tmp_path / "b.mp4")
    source = (tmp_path / "clip.mp4").read_bytes()
    (tmp_path / "clip.mp4").write_bytes(source + b"\x00")
    changed = fmanet(*words)
    assert (changed.exit_code, "clip.mp4 has changed since" in changed.stderr) == (2, True)
    (tmp_path / "clip.mp4").unlink()
    assert "clip.mp4 is not there since" in fmanet(*words).stderr
    (tmp_path / "clip.mp4").write_bytes(source)
    save_checkpoint(weights, tiny_model, metadata=CheckpointMetadata(licence="other", source="random, for tests"))
    other = fmanet(*words)
    assert (other.exit_code, "have changed since" in other.stderr) == (4, True)
    assert fmanet(*words, "--model", weights).exit_code == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "give INPUT, or --from-report without INPUT"),
        (["clip.mp4", "--from-report", "run.json"], "give INPUT, or --from-report without INPUT"),
        (["--from-report", "none.json"], "none.json cannot be read"),
        (["--from-report", "text.json"], "text.json is not a report of fmanet restore"),
        (["--from-report", "later.json"], "later.json has report format 99, this fmanet reads 1"),
        (["clip.mp4", "--report", "nowhere/run.json"], "the folder for nowhere/run.json does not exist"),
    ],
)
def test_what_cannot_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], text: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").touch()
    Path("text.json").write_text("[1, 2")
    Path("later.json").write_text('{"format": 99}')
    result = fmanet("restore", *words)
    assert (result.exit_code, text in result.stderr) == (2, True), result.stderr


def test_progress_as_json_lines(make_clip: MakeClip, tmp_path: Path, weights: Path) -> None:
    words = ("-o", tmp_path / "o.mp4", "--model", weights, "--progress", "json")
    told = events(fmanet("restore", make_clip(count=3), *words))
    assert [event["event"] for event in told][:2] == ["model", "start"]
    assert told[1]["frames_expected"] == 3
    assert (told[-2]["event"], told[-2]["frames_done"], told[-2]["seconds_left"]) == ("progress", 3, 0)
    assert (told[-1]["event"], told[-1]["state"], told[-1]["verified"]) == ("end", "done", True)


def test_frames_that_were_there_count_nothing_for_the_speed(capsys: pytest.CaptureFixture[str]) -> None:
    def resumed() -> Generator[BatchEvent, None, None]:
        item = BatchItem(Path("a.mp4"), Path("b.mp4"))
        for done in (1000, 1001):
            yield BatchEvent(item, progress=RestoreProgress(done, 1001))
            time.sleep(0.05)

    stream_batch(resumed())
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (last["frames_done"], last["seconds_left"]) == (1001, 0)
    assert 0 < last["frames_per_second"] <= 1 / 0.05


def test_errors_as_json_lines(make_clip: MakeClip, tmp_path: Path, weights: Path) -> None:
    clip = make_clip(count=1)
    (tmp_path / "o.mp4").touch()
    exists = fmanet("restore", clip, "-o", tmp_path / "o.mp4", "--model", weights, "--progress", "json")
    assert exists.exit_code == 2
    assert (events(exists)[-1]["state"], events(exists)[-1]["exit_code"]) == ("failed", 2)
    unknown = fmanet("restore", clip, "-o", tmp_path / "p.mp4", "--model", "lity", "--progress", "json")
    assert unknown.exit_code == 4
    assert (events(unknown)[-1]["event"], events(unknown)[-1]["exit_code"]) == ("error", 4)


def test_a_wrong_output_exits_6_with_its_rows(
    make_clip: MakeClip, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(count=4)
    forget_a_frame(monkeypatch)
    words = ("-o", tmp_path / "o.mp4", "--model", weights, "--progress", "json", "--report", tmp_path / "run.json")
    result = fmanet("restore", clip, *words)
    assert result.exit_code == 6
    assert {"what": "frames", "source": "4", "output": "3", "verdict": "differs"} in events(result)[-1]["differences"]
    file = json.loads((tmp_path / "run.json").read_text())["files"][0]
    assert (file["state"], file["target_sha256"], file["verification"]["ok"]) == ("failed", None, False)
    assert not (tmp_path / "o.mp4").exists()


def test_no_verify_lets_it_pass(
    make_clip: MakeClip, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(count=4)
    forget_a_frame(monkeypatch)
    result = fmanet("restore", clip, "-o", tmp_path / "o.mp4", "--model", weights, "--no-verify", "--progress", "none")
    assert result.exit_code == 0
    assert "verified" not in result.stderr
    assert (tmp_path / "o.mp4").exists()
