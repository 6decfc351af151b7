"""The group answers fast, suggests, and turns own errors into one line and an exit code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import fmanet_cli
from fmanet_cli.cli.main import COMMANDS, main
from fmanet_cli.cli.number_types import SECONDS
from fmanet_cli.errors import DeviceError, OutputExistsError


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


@pytest.mark.parametrize(
    ("remedy", "said"),
    [
        ("overwrite", "--overwrite"),
        ("resume=False", "--no-resume"),
        ("on_error=continue", "--on-error continue"),
        ("offline, FMANET_OFFLINE", "--offline, FMANET_OFFLINE"),
    ],
)
def test_the_option_that_would_mend_a_fault_is_named(monkeypatch: pytest.MonkeyPatch, remedy: str, said: str) -> None:
    def fail(**_: object) -> None:
        raise OutputExistsError("a.mp4 exists; choose another name or overwrite it", remedy=remedy)

    monkeypatch.setattr(main.get_command(click.Context(main), "probe"), "callback", fail)
    result = CliRunner().invoke(main, ["probe", "a.mp4"])
    expected = f"error: a.mp4 exists; choose another name or overwrite it ({said})\n"
    assert (result.exit_code, result.stderr) == (2, expected)


def test_no_message_below_the_command_line_names_an_option() -> None:
    """A caller in Python has parameters."""
    below = [path for path in Path(fmanet_cli.__file__).parent.rglob("*.py") if path.parent.name != "cli"]
    raised = [
        (path.name, text.value)
        for path in below
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise)
        for text in ast.walk(node)
        if isinstance(text, ast.Constant) and isinstance(text.value, str) and re.search(r"(^|[\s(])--[a-z]", text.value)
    ]
    assert raised == []


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


def test_alone_it_shows_three_commands_worth_trying() -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 2
    assert result.stderr.count("  fmanet ") == 3


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["help"], "Commands:"),
        (["help", "restore"], "--encoder-option"),
        (["help", "weights", "download"], "--offline"),
        (["-V"], "fmanet, version"),
    ],
)
def test_help_and_version_as_people_ask_for_them(words: list[str], text: str) -> None:
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, text in result.output) == (0, True)


def test_names_that_were_probably_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "holiday.mp4").touch()
    (tmp_path / "films").mkdir()
    for words, code, text in [
        (["holday.mp4"], 2, "Did you mean 'holiday.mp4'?"),
        (["restore", "holday.mp4"], 3, "Did you mean 'holiday.mp4'?"),
        (["restore", "films"], 2, "fmanet batch films -o OUT"),
        (["films"], 2, "fmanet batch films -o OUT"),
        (["evaluate", "--degrade", "holday.mp4"], 2, "'holday.mp4' does not exist. Did you mean 'holiday.mp4'?"),
        *(
            ([*words, "holday.mp4"], 3, "holday.mp4 does not exist. Did you mean 'holiday.mp4'?")
            for words in (["probe"], ["explain"], ["compare", "holday.mp4"], ["verify", "holday.mp4"], ["preview"])
        ),
        (["batch", "holday.mp4", "-o", "out"], 2, "Did you mean 'holiday.mp4'?"),
        (["restore", "holiday.mp4", "--codec", "svtav2", "-o", "o.mp4"], 2, "Did you mean 'svtav1'?"),
        (["restore", "holiday.mp4", "--container", "matrosca", "-o", "-"], 2, "Did you mean 'matroska'?"),
        (["evaluate", "--degrade", ".", "--preset", "phon"], 2, "Did you mean 'phone'?"),
        (["weights", "lst"], 2, "Did you mean 'list'?"),
        (["weights", "download", "red"], 4, "Did you mean 'reds'?"),
        (["restore", "holiday.mp4", "--tyle", "0"], 2, "--tile"),
        (["restore", "holiday.mp4", "-o", "o.mp4", "--model", "lit"], 4, "Did you mean 'lite'?"),
        (["restore", "a.mp4", "b.mp4", "-o", "o.mp4"], 2, "2 inputs cannot go into the one file o.mp4"),
        (["restore", "https://a.example/b.mp4"], 3, "is an address"),
        (["restore", "holiday.mp4", "-o", "o.mp4", "--suffix", "x"], 2, "--suffix is for outputs that are not named"),
        (["restore", "holiday.mp4", "--suffix", "/x"], 2, "it cannot hold a folder"),
        (["batch", "", "-o", "out"], 2, "it is empty"),
        (["restore", "holiday.mp4", "-o", "o.mp4", "--codec", ""], 2, "it is empty"),
        (["restore", "holiday.mp4", "-o", "o.mp4", "--start", "1:99:00"], 2, "minutes and seconds end at 59"),
        (["restore", "holiday.mp4", "-o", "o.mp4", "--start", "nan"], 2, "'nan' is no time"),
        (["restore", "holiday.mp4", "-o", "o.mp4", "--crf", "inf"], 2, "is not a finite number"),
        (["restore", "holiday.mp4", "-o", "o.mp4", "--crf", "9" * 400], 2, "is not a finite number"),
    ]:
        result = CliRunner().invoke(main, words)
        assert (result.exit_code, text in result.stderr) == (code, True), (words, result.output)


@pytest.mark.parametrize(
    ("text", "seconds"), [("83.5", 83.5), ("1:23.5", 83.5), ("1:02:03.5", 3723.5), ("0:06.2", 6.2), ("0", 0.0)]
)
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert SECONDS.convert(text, None, None) == seconds


def test_misspelt_variables_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FMANET_RESTORE_CFR", "14")
    monkeypatch.setenv("FMANET_PROBE_TARGET", "mkv")
    result = CliRunner().invoke(main, ["probe", str(tmp_path / "none.mp4")])
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "FMANET_RESTORE_CFR is unknown and has no effect; did you mean FMANET_RESTORE_CRF?" in warnings[0]


def test_a_list_of_weights_fits_a_terminal() -> None:
    result = CliRunner().invoke(main, ["weights", "list"], env={"COLUMNS": "80"})
    assert max(map(len, result.stdout.splitlines())) <= 80
