"""Every option of every command, asked of click itself, with values that nobody should type."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from fmanet_cli.cli.main import main

EXIT_CODES = {0, 1, 2, 3, 4, 5, 6, 7, 8}
"""What README documents, but for interruptions, which no value causes."""

MOST_SECONDS = 20

VALUES = {
    "empty": "",
    "blank": " ",
    "nan": "nan",
    "infinite": "inf",
    "minus infinite": "-inf",
    "huge": "1e300",
    "many digits": "9" * 5000,
    "negative": "-1",
    "zero": "0",
    "one": "1",
    "fraction": "0.5",
    "long name": "x" * 300,
    "long text": "x" * 5000,
    "escape": "\x1b]0;title\x07\x1b[31m",
    "newline": "a\nb",
    "direction": "\u202egpj.mp4",
    "not UTF-8": "\udcff\udcfe.mp4",
    "emoji": "\U0001f600.mp4",
    "folder of devices": "/dev/pts",
    "parent": "..",
    "below a file": "clip.mp4/o.mp4",
    "closed": "/proc/1/mem",
    "full": "/dev/full",
    "wide pattern": "a%0999999999999d.png",
    "two patterns": "a%d-%d.png",
    "no home": "~nobody-of-this-name/x",
    "dash": "-",
    "clock": "0:00:00.1",
    "wrong clock": "1:99:99",
    "size": "5x",
    "many-digit size": f"{'9' * 5000}x{'9' * 5000}",
    "pair": "a=b",
    "markup": "[bold]x[/red]",
}

RAW_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Case:
    """One command line."""

    path: tuple[str, ...]
    option: str
    kind: str

    @property
    def words(self) -> list[str]:
        return [self.option] if self.kind == "flag" else [self.option, VALUES[self.kind]]

    def __str__(self) -> str:
        return f"{' '.join(self.path)} {self.option} {self.kind}"


class TooSlow(BaseException):
    """Not an Exception, so that nothing on the way takes it for its own."""


def every_command(group: click.Group = main, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each command that does something, with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))
        else:
            yield (*path, name), command


def every_case() -> list[Case]:
    """Each option with each value; arguments are options without a name here."""
    cases = []
    for path, command in every_command():
        for param in command.params:
            if isinstance(param, click.Argument):
                cases += [Case(path, "", kind) for kind in VALUES]
            elif param.is_flag or param.count:
                cases += [Case(path, name, "flag") for name in (*param.opts, *param.secondary_opts)]
            else:
                cases += [Case(path, max(param.opts, key=len), kind) for kind in VALUES]
    return cases


def command_line(case: Case) -> list[str]:
    """The whole line: what the command needs besides, and the odd value."""
    command = dict(every_command())[case.path]
    given = case.words
    line = list(case.path)
    asked = set() if not case.option else {case.option}
    for param in command.params:
        if isinstance(param, click.Option) and not asked & set(param.opts):
            line += _usual(case.path, param)
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    values = [_usual_argument(case.path, param) for param in arguments]
    if case.option == "--from-report":
        return [*line, *given]
    if not case.option:
        return [*line, "--", VALUES[case.kind], *values[1:]]
    return [*line, *given, "--", *values]


def run(case: Case, folder: Path, files: Path) -> list[str]:
    """Everything that must not happen, of one command line in a folder of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(files, folder)
    began = time.monotonic()
    with _inside(folder), _limited():
        try:
            result = CliRunner().invoke(main, command_line(case))
        except TooSlow:
            return [f"takes more than {MOST_SECONDS} s"]
    is_video = case.words == ["--output", "-"]
    wrong = []
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        wrong.append(f"{type(result.exception).__name__}: {result.exception!s:.200}")
    if result.exit_code not in EXIT_CODES:
        wrong.append(f"exit code {result.exit_code}")
    if "error: unexpected " in result.stderr or ("Traceback" in result.output and case.option != "--debug"):
        wrong.append(f"unexpected: {result.stderr[-400:]}")
    if RAW_CONTROL.search(result.stderr) or (not is_video and RAW_CONTROL.search(result.stdout)):
        wrong.append(f"control characters: {result.output[-400:]!r}")
    if result.exit_code and not result.stderr.strip():
        wrong.append(f"exit code {result.exit_code} without a word")
    if (seconds := time.monotonic() - began) > MOST_SECONDS:
        wrong.append(f"took {seconds:.0f} s")
    shutil.rmtree(folder, ignore_errors=True)
    return wrong


def _usual(path: Sequence[str], param: click.Option) -> list[str]:
    """A value that lets the command come to the odd one, quickly."""
    name = max(param.opts, key=len)
    usual: dict[str, str] = {"--output": "out.mp4", "--model": "tiny.safetensors", "--precision": "fp32"}
    if path[0] == "batch":
        usual["--output"] = "out"
    if path[0] == "train":
        usual |= {"--output": "run", "--photos": "empty", "--steps": "1"}
    if path[0] == "evaluate":
        usual |= {"--truth": "clip.mp4"}
        usual = {key: value for key, value in usual.items() if key == "--truth"}
    if path[0] == "bench":
        usual |= {"--size": "16x16", "--frames": "2"}
    if path == ("weights", "import"):
        usual = {"--output": "new.safetensors"}
    return [name, usual[name]] if name in usual else []


def _usual_argument(path: Sequence[str], param: click.Argument) -> str:
    if path == ("weights", "import"):
        return "tiny.safetensors"
    if path[0] == "weights":
        return "lite"
    return "in" if path[0] == "batch" else "clip.mp4"


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
