"""No file, however damaged or untrue, gives a traceback, a hang, a full memory or a file under the final name."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from support.clips import make_clip
from support.fuzz_corpus import FRAMES, endless_y4m, make_corpus, valid_sources

HERE = Path(__file__).parent
FILE_SECONDS = 20
START_SECONDS = 60
MOST_BYTES = 2 << 30
SAMPLE = 16

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux")


def start_runs(*arguments: float) -> Any:
    """`fuzz_runs.py` in a process of its own."""
    command = [sys.executable, str(HERE / "support" / "fuzz_runs.py"), *map(str, arguments)]
    paths = os.pathsep.join([str(HERE), str(HERE.parent)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment)


def feed(pipe: IO[bytes], parts: Iterator[bytes]) -> None:
    """Write until there is nothing left or nobody reads."""
    try:
        with pipe:
            for part in parts:
                pipe.write(part)
    except BrokenPipeError:
        pass


def answers(process: Any, parts: Iterator[bytes]) -> queue.Queue[bytes]:
    """The lines that a process writes, an empty one at its end."""
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=feed, args=(process.stdin, parts), daemon=True).start()

    def collect() -> None:
        for line in process.stdout:
            lines.put(line)
        lines.put(b"")

    threading.Thread(target=collect, daemon=True).start()
    return lines


def run_files(wanted: Sequence[tuple[str, Path]]) -> list[dict[str, Any]]:
    """What became of each (on_error, file); one that kills or blocks the process costs a new one for the rest."""
    found: list[dict[str, Any]] = []
    while len(found) < len(wanted):
        process = start_runs()
        text = "".join(f"{on_error}\t{path}\n" for on_error, path in wanted[len(found) :])
        lines = answers(process, iter([text.encode()]))
        seconds = START_SECONDS
        while len(found) < len(wanted):
            name = wanted[len(found)][1].name
            try:
                line = lines.get(timeout=seconds)
            except queue.Empty:
                found.append({"source": name, "outcome": f"hangs for {seconds} s"})
                break
            if not line:
                found.append({"source": name, "outcome": f"died with {process.wait()}"})
                break
            found.append(json.loads(line))
            seconds = FILE_SECONDS
        process.kill()
        process.wait()
    return found


def run_piped(parts: Iterator[bytes], *, end_seconds: float = 0, most_frames: int = 0) -> dict[str, Any]:
    """What became of a video on standard input."""
    process = start_runs(end_seconds, most_frames)
    try:
        return json.loads(answers(process, parts).get(timeout=START_SECONDS))
    finally:
        process.kill()
        process.wait()


def faults(run: dict[str, Any]) -> list[str]:
    """Everything that must not happen, of one run."""
    if run["outcome"] not in ("restored", "refused"):
        return [f"{run['outcome']} {run.get('message', '')}"]
    wrong = []
    if run["has_target"] != (run["outcome"] == "restored"):
        wrong.append("the final name is there after an error, or not there after success")
    if run["left"]:
        wrong.append(f"left behind: {run['left']}")
    if run["outcome"] == "refused" and (not run["message"] or "\n" in run["message"]):
        wrong.append(f"not one line: {run['message']!r}")
    if run["outcome"] == "restored" and run["frames"] < 1:
        wrong.append("restored without a frame")
    if run["peak_bytes"] > MOST_BYTES:
        wrong.append(f"took {run['peak_bytes'] / 1e9:.2f} GB")
    if run["seconds"] > FILE_SECONDS:
        wrong.append(f"took {run['seconds']:.0f} s")
    return wrong


def check(runs: Sequence[dict[str, Any]]) -> None:
    wrong = {run["source"]: texts for run in runs if (texts := faults(run))}
    assert wrong == {}


def summary(runs: Sequence[dict[str, Any]]) -> str:
    counts = Counter(f"{run['outcome']} {run.get('kind', '')}".strip() for run in runs)
    # One that hung or died has neither; `check` names it.
    peak, longest = (max((run.get(key, 0) for run in runs), default=0) for key in ("peak_bytes", "seconds"))
    return f"{len(runs)} files: {dict(counts)}, at most {peak / 1e9:.2f} GB and {longest:.1f} s"


def test_a_sample_of_the_corpus(tmp_path: Path) -> None:
    files = make_corpus(tmp_path)
    assert len(files) >= 200
    # Every ninth or so: all kinds of damage and of containers are met.
    sample = files[:: len(files) // SAMPLE]
    runs = run_files([("continue", tmp_path / file.name) for file in sample if "sps" not in file.name])
    check(runs)
    assert {run["outcome"] for run in runs} == {"restored", "refused"}


@pytest.mark.slow
@pytest.mark.parametrize("on_error", ["stop", "continue"])
def test_the_whole_corpus(tmp_path: Path, on_error: str, capsys: pytest.CaptureFixture[str]) -> None:
    runs = run_files([(on_error, tmp_path / file.name) for file in make_corpus(tmp_path)])
    with capsys.disabled():
        sys.stdout.write(f"\n--on-error {on_error}, {summary(runs)}\n")
    check(runs)


def test_the_corpus_is_the_same_again(tmp_path: Path) -> None:
    first, second = make_corpus(tmp_path / "a", seed=5), make_corpus(tmp_path / "b", seed=5)
    assert [file.name for file in first] == [file.name for file in second]
    # Matroska files carry a random number of their own.
    changed = [one.name for one, other in zip(first, second, strict=True) if one.content != other.content]
    assert [name for name in changed if "mkv" not in name and "webm" not in name] == []


@pytest.mark.slow
def test_whole_sources_are_restored(tmp_path: Path) -> None:
    valid_sources(tmp_path)
    runs = run_files([("stop", path) for path in sorted(tmp_path.glob("a.*"))])
    check(runs)
    assert {run["source"]: run["message"] for run in runs if run["outcome"] != "restored"} == {}


def test_an_endless_stream_ends_where_it_was_asked_to() -> None:
    run = run_piped(endless_y4m(), end_seconds=0.4)
    check([run])
    assert (run["outcome"], run["frames"]) == ("restored", 10)


@pytest.mark.slow
def test_an_endless_stream_takes_no_more_memory_with_time() -> None:
    peaks = []
    for most_frames in (20, 200):
        run = run_piped(endless_y4m(), most_frames=most_frames)
        assert (run["outcome"], run["frames"], run["has_target"], run["left"]) == ("stopped", most_frames, False, [])
        peaks.append(run["peak_bytes"])
    assert peaks[1] < peaks[0] + 100e6


@pytest.mark.slow
@pytest.mark.parametrize("part", [bytes(4096), b"\xff" * 4096, b"text without an end\n"])
def test_endless_rubbish_is_refused(part: bytes) -> None:
    run = run_piped(iter(lambda: part, None))
    check([run])
    assert run["outcome"] == "refused"


def test_good_frames_around_damage_are_kept_and_the_gap_is_said(tmp_path: Path) -> None:
    source = tmp_path / "a.avi"
    make_clip(source, codec="mjpeg", pix_fmt="yuvj420p", count=FRAMES, height=48, width=64, options={"threads": "1"})
    content = bytearray(source.read_bytes())
    starts = [at for at in range(len(content) - 1) if content[at : at + 2] == b"\xff\xd8"]
    assert len(starts) == FRAMES
    content[starts[3] : starts[3] + 400] = bytes(400)
    source.write_bytes(content)
    stopped, continued = run_files([("stop", source), ("continue", source)])
    check([stopped, continued])
    assert stopped["outcome"] == "refused"
    assert "a packet at 0.12 s cannot be decoded" in stopped["message"]
    assert "the good frames are kept where faults may be passed over" in stopped["message"]
    assert (continued["outcome"], continued["frames"]) == ("restored", FRAMES - 1)
    assert any("a packet at 0.12 s cannot be decoded" in warning for warning in continued["warnings"])
