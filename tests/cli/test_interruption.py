"""Ctrl-C, SIGTERM and SIGHUP: one last line, an exit code of its own, and nothing left but frames to go on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from fmanet_cli.cli.main import main
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.inputs import BatchItem
from fmanet_cli.restore.job import RestoreJob
from fmanet_cli.training.state import load_state
from fmanet_cli.video.read.images import write_image
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.weights.checkpoint import CheckpointMetadata, save_checkpoint

FRAMES = 20
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
if hasattr(signal, "SIGHUP"):
    SIGNALS.append((signal.SIGHUP, 129))

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX systems")


@pytest.fixture
def folder(make_clip, tmp_path: Path, tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A clip and weights; the working folder, in which pieces have 8 frames."""
    make_clip("in/a.mp4", count=FRAMES, height=16, width=16)
    save_checkpoint(
        tmp_path / "tiny.safetensors", tiny_model, metadata=CheckpointMetadata(licence="MIT", source="random")
    )
    monkeypatch.setenv("FMANET_RESTORE_SEGMENT_FRAMES", "8")
    monkeypatch.setenv("FMANET_BATCH_SEGMENT_FRAMES", "8")
    monkeypatch.chdir(tmp_path)
    # Under nohup or as a background job the tests would inherit that signals are ignored, and so would the command.
    before = {number: signal.getsignal(number) for number, _ in SIGNALS}
    for number in before:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield tmp_path
    for number, handler in before.items():
        signal.signal(number, handler)


def fmanet(*words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--model", "tiny.safetensors", "--precision", "fp32"])


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """A function after which this process gets a signal, once, when so many frames are done."""

    def at(number: int, frames: int) -> None:
        run, numbers = RestoreJob.run, [number]

        def interrupted(self: RestoreJob):
            for progress in run(self):
                yield progress
                if progress.frames_done == frames and numbers:
                    os.kill(os.getpid(), numbers.pop())

        monkeypatch.setattr(RestoreJob, "run", interrupted)

    return at


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_with_pieces(folder: Path, sent: Callable[[int, int], None], number: int, code: int) -> None:
    sent(number, 16)
    result = fmanet("restore", "in/a.mp4", "-o", "out.mp4")
    assert result.exit_code == code
    kept = "16 frames of out.mp4 are kept, run the same command again to go on"
    assert result.stderr.splitlines()[-1] == f"interrupted: {kept}"
    assert sorted(path.name for path in folder.iterdir()) == [".out.mp4.fmanet", "in", "tiny.safetensors"]


def test_one_frame_is_one(folder: Path, sent: Callable[[int, int], None]) -> None:
    sent(signal.SIGINT, 1)
    assert "interrupted: 1 frame of out.mp4 is kept" in fmanet("restore", "in/a.mp4", "-o", "out.mp4").stderr
    assert ", 1 frame is there already" in fmanet("plan", "in/a.mp4", "-o", "out.mp4").stdout


def test_the_open_piece_is_closed_with_what_it_has(folder: Path, sent: Callable[[int, int], None]) -> None:
    sent(signal.SIGINT, 11)
    result = fmanet("restore", "in/a.mp4", "-o", "out.mp4")
    assert "interrupted: 11 frames of out.mp4 are kept" in result.stderr
    again = fmanet("restore", "in/a.mp4", "-o", "out.mp4")
    assert again.exit_code == 0, again.stderr
    assert f"{FRAMES} at 16x16 to 64x64, 11 of them from an interrupted run" in again.stderr


@pytest.mark.parametrize("command", ["restore", "batch"])
def test_what_is_done_can_be_looked_at(
    folder: Path, sent: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    sent(signal.SIGINT, 11)
    words = [command, "in/a.mp4", "-o", "out dir/", "--keep-partial"]
    result = fmanet(*words)
    assert result.exit_code == 130
    partial = "out dir/a.partial.mp4"
    assert result.stderr.splitlines()[-1] == (
        f"interrupted: 11 frames of out dir/a.mp4 are kept, those from the first on in {partial}; this goes on: "
        f"fmanet {command} in/a.mp4 -o 'out dir/' --keep-partial --model tiny.safetensors --precision fp32"
    )
    with VideoReader(partial) as reader, VideoReader("in/a.mp4") as source:
        assert [frame.pts for frame in reader] == [frame.pts for frame in source][:11]
    assert fmanet(*words).exit_code == 0


def test_the_second_interruption_stops_at_once(folder: Path) -> None:
    code = (
        "import os, signal, sys, time; from fmanet_cli.cli.interruption import ended_by_signals\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with ended_by_signals():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT); time.sleep(9)\n"
        "    finally:\n"
        "        print('closing', flush=True); os.kill(os.getpid(), signal.SIGINT); time.sleep(9); print('never')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (130, "closing\n")
    assert done.stderr.splitlines()[-1] == "interrupted twice: stopped at once"


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("target", ["out.y4m", "%03d.png"])
def test_without_pieces(folder: Path, sent: Callable[[int, int], None], target: str, number: int, code: int) -> None:
    sent(number, 5)
    result = fmanet("restore", "in/a.mp4", "-o", target)
    assert result.exit_code == code
    assert result.stderr.splitlines()[-1] == "interrupted: no frame is kept, the same command begins anew"
    assert sorted(path.name for path in folder.iterdir()) == ["in", "tiny.safetensors"]


def test_a_batch_shows_what_it_has_done(make_clip, folder: Path, sent: Callable[[int, int], None]) -> None:
    make_clip("in/0.mp4", count=1, height=16, width=16)
    sent(signal.SIGTERM, FRAMES)
    result = fmanet("batch", "in", "-o", "out")
    assert result.exit_code == 143
    assert "out/0.mp4" in result.stderr
    assert "out/a.mp4 are kept, run the same command again to go on" in result.stderr.splitlines()[-1]
    assert [path.name for path in (folder / "out").iterdir() if not path.name.startswith(".")] == ["0.mp4"]


def test_between_two_films_nothing_is_lost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def arrive(_: object) -> Iterator[BatchItem]:
        yield BatchItem(Path("in/a.mp4"), Path("out/a.mp4"))
        raise KeyboardInterrupt

    monkeypatch.setattr("fmanet_cli.restore.watch.arrivals", arrive)
    result = fmanet("batch", "in", "-o", "out", "--watch")
    assert (result.exit_code, result.stderr.splitlines()[-3:]) == (130, ["1 done", "", "interrupted"])


def test_programs_get_a_line_of_their_own(folder: Path, sent: Callable[[int, int], None]) -> None:
    sent(signal.SIGTERM, 5)
    result = fmanet("restore", "in/a.mp4", "-o", "out.mp4", "--progress", "json")
    assert result.exit_code == 143
    last = json.loads(result.stderr.splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("interrupted", 143)
    assert last["message"].startswith("5 frames of out.mp4 are kept")


def test_the_handlers_go_with_the_command(folder: Path) -> None:
    before = [signal.getsignal(number) for number, _ in SIGNALS]
    fmanet("probe", "in/a.mp4")
    assert [signal.getsignal(number) for number, _ in SIGNALS] == before


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("seconds", [0.2, 2, 5, 8])
def test_in_a_process_of_its_own(folder: Path, number: int, code: int, seconds: float) -> None:
    words = ["restore", "in/a.mp4", "-o", "out.y4m", "--model", "random:paper", "--precision", "fp32"]
    process = subprocess.Popen([sys.executable, "-m", "fmanet_cli", *words], stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    if seconds > 1:
        assert process.returncode == code
        assert said.splitlines()[-1].startswith("interrupted")
    assert "Traceback" not in said or seconds < 1
    assert sorted(path.name for path in folder.iterdir()) == ["in", "tiny.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_training_saves_the_step_it_is_in(folder: Path, processes: int) -> None:
    (folder / "photos").mkdir()
    noise = np.random.default_rng(0).random((220, 220, 3), np.float32)
    write_image(folder / "photos" / "a.png", noise)
    words = ["train", "--photos", "photos", "-o", "run", "--init", "lite", "--stage", "2", "--windows", "2"]
    options = ["--window-size", "16", "--device", "cpu", "--precision", "fp32", "--processes", str(processes)]
    # A group of its own, all of which gets the signal, as a terminal sends it.
    command = [sys.executable, "-m", "fmanet_cli", *words, *options, "--mixture", "off"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    steps = folder / "run" / "steps.csv"
    deadline = time.monotonic() + 240
    while not (steps.exists() and len(steps.read_text().splitlines()) > 3) and time.monotonic() < deadline:
        assert running.poll() is None, running.stderr.read() if running.stderr else ""
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=120)
    done = int(steps.read_text().splitlines()[-1].split(",")[1])
    assert running.returncode == 130
    assert said.splitlines()[-1] == f"interrupted: step {done} is saved in run, --resume goes on"
    assert "Traceback" not in said
    assert load_state(Path("run")).position.step == done
