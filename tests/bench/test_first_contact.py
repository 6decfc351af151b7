"""The first minutes on a device: nothing stops the next step, everything is written down, and a CPU can rehearse it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import pytest
import torch
from click.testing import CliRunner

from fmanet_cli.bench.first_contact import device_tests, files, kernels, measuring, self_check, shortage, speed, sweeps
from fmanet_cli.bench.first_contact import run as run_module
from fmanet_cli.bench.first_contact.contact import Contact
from fmanet_cli.bench.first_contact.kernels import Work, busy_microseconds, work_figures
from fmanet_cli.bench.first_contact.plan import STEPS, WHOLE_SECONDS, time_limit
from fmanet_cli.bench.first_contact.run import FirstContact, run_process
from fmanet_cli.bench.first_contact.step import Findings, graphs_last, run_parts
from fmanet_cli.bench.first_contact.summary import StepFindings
from fmanet_cli.cli.main import main as fmanet
from fmanet_cli.engine.device_errors import is_out_of_memory
from fmanet_cli.errors import DeviceError, OutputExistsError
from fmanet_cli.model.fmanet import FMANet

CPU = torch.device("cpu")
Ended = Callable[[str, dict[str, Any]], str]


def test_every_step_has_its_share_whatever_the_earlier_ones_took() -> None:
    assert sum(step.share for step in STEPS) == WHOLE_SECONDS == 540
    now = 0.0
    for index, step in enumerate(STEPS):
        until = time_limit(index, now=now, end=WHOLE_SECONDS)
        assert until - now == pytest.approx(step.share)
        now = until
    assert now == WHOLE_SECONDS
    # What the first steps leave, the next one may use; half the time means half the shares.
    assert time_limit(2, now=1.0, end=WHOLE_SECONDS) == sum(step.share for step in STEPS[:3])
    assert time_limit(0, now=0.0, end=270.0, whole=270.0) == STEPS[0].share / 2
    assert time_limit(0, now=600.0, end=WHOLE_SECONDS) == 600.0


def test_a_part_that_fails_stops_no_other_and_the_file_is_whole_at_any_time(tmp_path: Path) -> None:
    target = tmp_path / "step.json"
    seen: list[dict[str, Any]] = []

    def fails() -> None:
        seen.append(json.loads(target.read_text())["parts"])
        raise RuntimeError("CUDA error: an illegal memory access\nwith advice")

    parts: dict[str, Callable[[], Any]] = {
        "first": lambda: {"decibels": math.inf, "sizes": (1, 2), "where": tmp_path},
        "second": fails,
        "third": lambda: {"decibels": math.nan, "wrong": "below 40 dB"},
        "fourth": lambda: {"left out": "no such card"},
    }
    run_parts(parts, Findings(target, "speed"), until=time.time() + 60)
    assert [part["state"] for part in seen[0].values()] == ["done", "begun", "not reached", "not reached"]
    found = json.loads(target.read_text())["parts"]
    assert [part["state"] for part in found.values()] == ["done", "failed", "wrong", "left out"]
    assert found["first"]["result"] == {"decibels": "inf", "sizes": [1, 2], "where": str(tmp_path)}
    assert found["second"]["error"] == "CUDA error: an illegal memory access"
    assert "in fails" in found["second"]["traceback"]
    run_parts(parts, Findings(target, "speed"), until=time.time() - 1)
    found = json.loads(target.read_text())["parts"]
    assert {part["state"] for part in found.values()} == {"not reached"}


@pytest.mark.parametrize("step", [speed, kernels, sweeps, self_check])
def test_recordings_come_last_as_one_that_fails_can_spoil_its_process(
    step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_check, "load_model", lambda name: name)
    parts = step.parts(contact())
    with_graphs = ["graphs" in name for name in graphs_last(parts)]
    assert len(with_graphs) == len(parts)
    assert 0 < sum(with_graphs) < len(parts)
    assert with_graphs == sorted(with_graphs)


@pytest.mark.skipif(os.name == "nt", reason="process groups")
def test_a_process_that_hangs_ends_with_all_that_it_began(tmp_path: Path) -> None:
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, flush=True); input"
    with (tmp_path / "log").open("w") as log:
        began = time.monotonic()
        command = [sys.executable, "-c", f"{code}; import time; time.sleep(60)"]
        assert run_process(command, log, seconds=1) == "stopped after 1 s"
        assert time.monotonic() - began < 5
        assert run_process([sys.executable, "-c", "import os; os.abort()"], log, seconds=9) == "ended by signal 6"
        assert run_process([sys.executable, "-c", "raise SystemExit(3)"], log, seconds=9) == "ended with exit code 3"
        assert run_process([sys.executable, "-c", ""], log, seconds=9) == ""
    begun = int((tmp_path / "log").read_text().split()[0])
    state = Path(f"/proc/{begun}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Callable[[Ended], None]:
    """Put a function in place of the processes: what each step wrote, and how it ended."""

    def use(process: Ended) -> None:
        def run(command: Sequence[str], log: TextIO, *, seconds: float) -> str:
            request = json.loads(command[-1])
            return process(request["step"], request)

        monkeypatch.setattr(run_module, "run_process", run)

    return use


def test_whatever_becomes_of_a_step_the_others_run_and_all_is_written(tmp_path: Path, ended: Any) -> None:
    def process(step: str, request: dict[str, Any]) -> str:
        if step == "machine":
            return "ended by signal 11"
        if step == "files":
            Path(request["target"]).write_text('{"step": "files", "error": "no module named av"}')
            return ""
        state = {"state": "begun"} if step == "speed" else {"state": "done", "seconds": 1.0, "result": {"fps": 31.5}}
        if step == "kernels":
            state = {"state": "wrong", "seconds": 1.0, "result": {"wrong": "nothing was seen"}}
        Path(request["target"]).write_text(json.dumps({"step": step, "parts": {"part": state}}))
        return "stopped after 95 s" if step == "speed" else ""

    ended(process)
    steps = list(FirstContact(tmp_path / "found", device="cpu").run())
    assert [found.step for found in steps] == list(STEPS)
    unwell = {found.step.name: found.headline().split(" s  ")[1] for found in steps if not found.is_well}
    assert unwell == {
        "machine": "ended by signal 11",
        "files": "no module named av",
        "speed": "stopped after 95 s; 1 stopped",
        "kernels": "1 wrong",
    }
    whole = json.loads((tmp_path / "found/summary.json").read_text())
    assert [step["is_well"] for step in whole["steps"]] == [found.is_well for found in steps]
    assert (whole["missing"], len(whole["steps"])) == ([], 10)
    text = (tmp_path / "found/summary.txt").read_text()
    assert "    part: fps 31.5 (1.0 s)" in text
    assert "    part: wrong nothing was seen (1.0 s)" in text
    assert text.splitlines()[-1].startswith("10 steps in 0 s")


def test_steps_after_the_time_are_written_as_not_reached(
    tmp_path: Path, ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(run_module.time, "time", lambda: clock[0])

    def process(step: str, request: dict[str, Any]) -> str:
        # A process that the driver holds beyond its end.
        clock[0] = request["until"] + (600 if step == "sweeps" else -10)
        Path(request["target"]).write_text('{"parts": {}}')
        return ""

    ended(process)
    states = [found.ended for found in FirstContact(tmp_path / "found").run()]
    assert states == [""] * 7 + ["not reached: the time was over"] * 3
    text = (tmp_path / "found/summary.txt").read_text()
    assert "look at  memory         0.0 s  not reached: the time was over" in text


def test_a_device_that_is_not_there_is_refused_and_leaves_nothing(tmp_path: Path, ended: Any) -> None:
    def process(step: str, request: dict[str, Any]) -> str:
        Path(request["target"]).write_text('{"error": "no CUDA device is available", "exit_code": 5}')
        return ""

    ended(process)
    result = CliRunner().invoke(fmanet, ["bench", "--first-contact", str(tmp_path / "found"), "--device", "cuda"])
    assert (result.exit_code, result.stderr) == (5, "error: no CUDA device is available\n")
    assert list((tmp_path / "found").iterdir()) == []


def test_a_line_for_each_step_and_no_other_choices(tmp_path: Path, ended: Any) -> None:
    ended(lambda _, request: Path(request["target"]).write_text('{"parts": {}}') and "")
    result = CliRunner().invoke(fmanet, ["bench", "--first-contact", str(tmp_path / "found"), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == [step.name for step in STEPS]
    assert lines[-1] == f"all of it: {tmp_path / 'found/summary.txt'}"
    again = CliRunner().invoke(fmanet, ["bench", "--first-contact", str(tmp_path / "found")])
    assert (again.exit_code, "is not an empty folder; name another one" in again.stderr) == (2, True)
    more = ["--size", "32x32", "--count"]
    other = CliRunner().invoke(fmanet, ["bench", "--first-contact", str(tmp_path / "new"), *more])
    assert other.exit_code == 2
    assert "chooses all but the device: leave out --size, --count" in other.stderr
    with pytest.raises(OutputExistsError):
        FirstContact(tmp_path / "found/summary.txt")


def test_kernels_are_summed_and_overlaps_counted_once() -> None:
    works = [Work("a", 0, 10), Work("b", 5, 12), Work("a", 20, 30), Work("Memcpy HtoD", 22, 24), Work("b", 40, 41)]
    assert busy_microseconds(works) == 12 + 10 + 1
    assert busy_microseconds([]) == 0
    found = work_figures(works, frames=2, seconds=46e-6)
    assert (found["launches_per_frame"], found["copies_per_frame"], found["busy_share"]) == (2, 0.5, 0.5)
    assert found["kernels"][0] == {"kernel": "a", "ms_per_frame": pytest.approx(0.01), "times_per_frame": 1}
    assert found["longest"] == "a"


def test_results_of_tests_are_read(tmp_path: Path) -> None:
    (tmp_path / "r.xml").write_text(
        '<testsuites><testsuite><testcase classname="a" name="x" time="2"/><testcase classname="a" name="y" time="1">'
        '<failure message="1 != 2">text</failure></testcase><testcase classname="b" name="z" time="0">'
        '<skipped message="no"/></testcase></testsuite></testsuites>'
    )
    found = device_tests.read_results(tmp_path / "r.xml")
    assert (found["tests"], found["skipped"], found["failed"], found["failures"]) == (3, 1, 1, ["a::y: 1 != 2"])
    assert found["slowest"][0] == (2.0, "a::x")


def contact(**changes: Any) -> Contact:
    chosen: dict[str, Any] = {"device": CPU, "precision": "fp32", "wide": "random:lite", "small": "lite"}
    sizes = {"sizes": ((8, 12), (8, 16), (8, 20)), "frames": (2, 2, 2), "film_frames": 2}
    return Contact(**(chosen | sizes | changes))


def test_recordings_are_rehearsed_and_what_goes_wrong_in_a_run_is_said(
    tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = measuring.timed_run(measuring.built(tiny_model, contact()), (8, 12), count=3, pass_size=2)
    assert (plain["windows_in_a_pass"], plain["fps"]) == (2, pytest.approx(1 / plain["seconds_per_frame"]))
    assert "wrong" not in plain
    restorer = measuring.built(tiny_model, contact(), graphs=True)
    assert "wrong" not in measuring.timed_run(restorer, (8, 12), count=2)
    assert restorer.runner.records(8, 12)  # type: ignore[attr-defined]

    def failing(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(measuring, "_ComputedAgain", failing)
    found = measuring.timed_run(measuring.built(tiny_model, contact(), graphs=True), (8, 12), count=2)
    assert found["wrong"].startswith("CUDA graphs are not used (operation not permitted")


@pytest.mark.parametrize("graphs", [False, True])
def test_a_way_that_computes_wrongly_is_named(
    random_tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch, graphs: bool
) -> None:
    def trial(precision: Any) -> dict[str, Any]:
        return self_check._trial(random_tiny_model, CPU, precision, fused=False, graphs=graphs)

    assert trial("fp32")["decibels"] == math.inf
    assert "wrong" not in trial("fp32")
    assert "needs a GPU" in trial("fp16")["left out"]
    window = self_check.StreamingRunner.window
    monkeypatch.setattr(self_check.StreamingRunner, "window", lambda self, states: window(self, states) + next(offsets))
    # The CPU's own frame first, then what is tried: the recorded ways compute it several times.
    offsets = iter([0.0, *[0.2] * 9])
    found = trial("fp32")
    assert (found["decibels"] < 20, found["wrong"]) == (True, "below 40 dB")


def test_files_are_compared_frame_by_frame(make_clip: Callable[..., Path]) -> None:
    first, second = make_clip("a.mp4", count=3), make_clip("b.mp4", count=3, height=24, width=32)
    assert files.file_decibels(first, second) == math.inf
    with pytest.raises(ValueError, match="shorter"):
        files.file_decibels(first, make_clip("c.mp4", count=2))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space")
def test_memory_is_short_inside_and_not_after() -> None:
    with shortage.limited_memory(CPU, 64 << 20), pytest.raises(RuntimeError) as caught:
        torch.ones(256 << 20, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert len(torch.ones(256 << 20, dtype=torch.uint8)) == 256 << 20


@pytest.mark.parametrize(
    ("fault", "state"),
    [(DeviceError("not enough memory on cuda even for tiles"), "refused"), (RuntimeError("CUDA error"), "failed")],
)
def test_a_shortage_may_be_refused_in_a_line_but_give_no_other_exception(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: Exception, state: str
) -> None:
    def failing(*_: object) -> None:
        raise fault

    monkeypatch.setattr(shortage, "probed", lambda *_: run_module)
    monkeypatch.setattr(run_module, "peak_memory_bytes", 1 << 30, raising=False)
    monkeypatch.setattr(shortage, "_restored", failing)
    monkeypatch.setattr(shortage, "_REHEARSED_SIZE", (8, 12))
    run_parts(shortage.parts(contact()), Findings(tmp_path / "f.json", "shortage"), until=time.time() + 60)
    parts = list(json.loads((tmp_path / "f.json").read_text())["parts"].values())[1:]
    assert len(parts) == 4
    for part in parts:
        assert ("refused" in part["result"]) if state == "refused" else (part["state"] == "failed")


def test_what_is_swept_is_what_the_network_is_built_with(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[dict[str, Any]] = []
    monkeypatch.setattr(sweeps, "load_model", lambda name: name)
    monkeypatch.setattr(sweeps, "built", lambda *_, **options: built.append(options))
    monkeypatch.setattr(sweeps, "timed_run", lambda *_, **options: options)
    sizes = [call() for call in sweeps.parts(contact()).values()]
    assert [found["pass_size"] for found in sizes[:4]] == [1, 2, 4, 8]
    swept = [options.get("strip_bytes") for options in built[-8:]]
    assert swept == [size << 20 for size in (16, 16, 64, 64, 256, 256, 1024, 1024)]
    assert [options.get("channel_multiple") for options in built[4:7]] == [1, 8, 16]


@pytest.mark.slow
def test_the_whole_is_rehearsed(tmp_path: Path) -> None:
    folder = tmp_path / "found"
    steps: list[StepFindings] = list(FirstContact(folder, device="cpu", seconds=3000).run())
    unwell = [f"{found.headline()}: {json.dumps(found.as_dict())}" for found in steps if not found.is_well]
    assert unwell == []
    assert [found.step for found in steps] == list(STEPS)
    counts = {found.step.name: found.counts.get("done", 0) for found in steps}
    assert counts["self_check"] == 8
    assert counts["speed"] == 12
    assert counts["sweeps"] == 17
    assert all(count >= 2 for count in counts.values())
    endings = [part["result"] for part in steps[8].parts.values()]
    assert any(ending.get("tile") or ending.get("refused") for ending in endings)
    assert (folder / "summary.txt").read_text().splitlines()[-1].startswith("10 steps in")


@pytest.mark.slow
def test_one_step_from_the_command_line(tmp_path: Path) -> None:
    request = {"step": "machine", "device": "cpu", "until": time.time() + 600, "target": str(tmp_path / "m.json")}
    command = [sys.executable, "-m", "fmanet_cli.bench.first_contact.step", json.dumps(request)]
    subprocess.run(command, check=True)
    parts = json.loads((tmp_path / "m.json").read_text())["parts"]
    assert parts["device"]["result"]["chosen"] == "cpu"
    assert parts["libraries"]["result"]["torch"] == torch.__version__
