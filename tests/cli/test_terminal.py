"""No name steers the terminal, and a terminal that is closed or full stops no run."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.table import Table

from fmanet_cli.cli import terminal
from fmanet_cli.cli.console import make_console
from fmanet_cli.cli.main import main
from fmanet_cli.cli.terminal import begin_logging, echo, make_bar, one_line, printable

STEERING = "\x1b]0;title\x07\x9b31m\x7f\r\u202eabc\udcff"
ESCAPED = r"\x1b]0;title\x07\x9b31m\x7f\x0d\u202eabc\xff"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")


def test_control_characters_become_escapes() -> None:
    assert printable(STEERING) == ESCAPED
    assert printable("größe\t日本語 😀\nb") == "größe\t日本語 😀\nb"
    assert one_line("a\n b") == "a b"
    assert len(one_line("x" * 10_000)) < 1300


def print_with_echo() -> None:
    echo(STEERING, err=True)


def print_in_a_table() -> None:
    table = Table("name")
    table.add_row(STEERING)
    make_console(err=True).print(table)


def log_a_warning() -> None:
    begin_logging(verbose=False)
    logging.getLogger("fmanet_cli.test").warning("%s", STEERING)


def draw_a_bar() -> None:
    with make_bar(total=1, desc=STEERING, disable=False, ncols=60) as bar:
        bar.update()


@pytest.mark.parametrize("say", [print_with_echo, print_in_a_table, log_a_warning])
def test_nothing_raw_is_printed(say: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    say()
    text = capsys.readouterr().err
    assert r"\x1b]0;title\x07" in text
    assert RAW.search(text) is None


def test_nothing_raw_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    draw_a_bar()
    text = capsys.readouterr().err
    assert r"\x1b]0;title\x07" in text
    assert RAW.search(text.replace("\r", "")) is None


@pytest.mark.skipif(os.name != "posix", reason="such names exist on POSIX systems only")
@pytest.mark.parametrize("words", [["probe"], ["restore"], ["verify", "-c", "x264", "--"], ["batch", "-o", "out"]])
def test_names_in_errors(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = STEERING.replace("\r", "") + ".mp4"
    result = CliRunner().invoke(main, [*words, name, *([name] if "verify" in words else [])])
    assert result.exit_code in (2, 3, 4)
    assert r"\x1b]0;title\x07" in result.stderr
    assert RAW.search(result.output) is None


def test_no_command_prints_past_what_makes_text_printable() -> None:
    folder = Path(terminal.__file__).parent
    raw = {
        path.name for path in folder.glob("*.py") if re.search(r"\bclick\.s?echo\(|^\s*print\(", path.read_text(), re.M)
    }
    # doctor colours one word of a line, the rest of which is made printable there.
    assert raw == {"terminal.py", "doctor.py"}


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh", "-c", command], cwd=folder, check=False, capture_output=True, text=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full")
def test_full_and_closed_streams(tmp_path: Path) -> None:
    fmanet = f"{sys.executable} -m fmanet_cli"
    for stream in (">/dev/full", ">&-"):
        done = run(f"{fmanet} weights list {stream}", tmp_path)
        assert (done.returncode, len(done.stderr.splitlines())) == (7, 1), done.stderr
        assert done.stderr.startswith("error: standard output ")
    for stream in ("2>/dev/full", "2>&-"):
        done = run(f"{fmanet} weights verify lite {stream}", tmp_path)
        assert (done.returncode, done.stdout.startswith("lite: ok")) == (0, True)
        assert run(f"{fmanet} probe none.mp4 {stream}", tmp_path).returncode == 3
    assert run(f"{fmanet} probe - <&-", tmp_path).returncode == 3


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("words", ["weights list", "help"])
def test_a_reader_that_has_enough_ends_a_command_quietly(tmp_path: Path, words: str) -> None:
    # The pipe's reading end is closed before the command begins, so that no line can go through first.
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "fmanet_cli", *words.split()],
        cwd=tmp_path,
        check=False,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_table_whose_reader_has_gone_ends_no_run(tmp_path: Path) -> None:
    code = "from fmanet_cli.cli.console import make_console; make_console(err=True).print('table'); print('went on')"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.PIPE, stderr=writing, text=True)
    os.close(writing)
    assert (done.returncode, done.stdout) == (0, "went on\n")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full")
def test_restoring_with_odd_streams(make_clip, tmp_path: Path) -> None:
    make_clip("a.mp4", count=1, height=16, width=16)
    fmanet = f"{sys.executable} -m fmanet_cli restore a.mp4 --precision fp32"
    for number, stream in enumerate(("2>&-", "2>/dev/full", "2>&- >&- <&-")):
        done = run(f"{fmanet} -o {number}.mp4 {stream}", tmp_path)
        assert (done.returncode, (tmp_path / f"{number}.mp4").exists()) == (0, True)
    done = run(f"{fmanet} -o - >&-", tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (7, 2), done.stderr
    assert run(f"{fmanet} -o - >/dev/full", tmp_path).returncode == 7
