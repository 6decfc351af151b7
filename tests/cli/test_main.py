"""The group answers fast, suggests, and turns own errors into one line and an exit code."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from fmanet_cli.cli.main import COMMANDS, main
from fmanet_cli.errors import DeviceError


def test_help_answers_at_once_without_torch() -> None:
    code = "import sys; from fmanet_cli.cli.main import main\n"
    code += "try: main(['--help'])\nfinally: print('torch' in sys.modules)"
    times = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - began)
    assert done.stdout.endswith("False\n")
    assert min(times) < 0.3


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_has_help(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Usage: ")


def test_misspelt_commands_get_a_suggestion() -> None:
    result = CliRunner().invoke(main, ["restor", "a.mp4"])
    assert result.exit_code == 2
    assert "No such command or file 'restor'. Did you mean 'restore'?" in result.stderr


def test_own_errors_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    def fail(options):
        raise DeviceError("no memory\nat all")

    monkeypatch.setattr("fmanet_cli.cli.restore.build_restorer", fail)
    result = CliRunner().invoke(main, ["restore", "a.mp4", "-o", "b.mp4"])
    assert result.exit_code == 5
    assert result.stderr == "error: no memory at all\n"
    monkeypatch.setenv("FMANET_DEBUG", "1")
    assert isinstance(CliRunner().invoke(main, ["restore", "a.mp4", "-o", "b.mp4"]).exception, DeviceError)


def test_version() -> None:
    from fmanet_cli import __version__

    assert CliRunner().invoke(main, ["--version"]).output == f"fmanet, version {__version__}\n"
