"""The group answers fast, suggests, and turns own errors into one line and an exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fmanet_cli.cli.main import COMMANDS, main
from fmanet_cli.errors import DeviceError


def test_help_answers_at_once_without_torch() -> None:
    code = "import sys, time; from fmanet_cli.cli.main import main\n"
    code += "try: main(['--help'])\nfinally: print('torch' in sys.modules, time.process_time())"
    done = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    ends = [run.stdout.splitlines()[-1].split() for run in done]
    assert {loaded for loaded, _ in ends} == {"False"}
    # Processor time: what else the machine does is not this program's.
    assert min(float(seconds) for _, seconds in ends) < 0.3


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_has_help(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Usage: ")


def test_misspelt_commands_get_a_suggestion() -> None:
    result = CliRunner().invoke(main, ["restor", "a.mp4"])
    assert result.exit_code == 2
    assert "No such command or file 'restor'. Did you mean 'restore'?" in result.stderr


def test_own_errors_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise DeviceError("no memory\nat all")

    monkeypatch.setattr(main.get_command(click.Context(main), "probe"), "callback", fail)
    result = CliRunner().invoke(main, ["probe", "a.mp4"])
    assert (result.exit_code, result.stderr) == (5, "error: no memory at all\n")
    for words in (["probe", "a.mp4", "--debug"], ["--debug", "probe", "a.mp4"]):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 5
        assert result.stderr.startswith("Traceback (most recent call last)")
        assert result.stderr.endswith("error: no memory at all\n")


def test_what_nobody_foresaw_is_one_line_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(**_: object) -> None:
        raise KeyError("\x1b]0;title\x07")

    monkeypatch.setattr(main.get_command(click.Context(main), "probe"), "callback", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = CliRunner().invoke(main, ["probe", "a.mp4"])
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("error: unexpected KeyError: ")
    [file] = tmp_path.iterdir()
    assert line.endswith(f"please report this with the traceback in {file}")
    assert "\x1b" not in line
    assert "in fail\n" in file.read_text()


def test_version() -> None:
    from fmanet_cli import __version__

    assert CliRunner().invoke(main, ["--version"]).output == f"fmanet, version {__version__}\n"
