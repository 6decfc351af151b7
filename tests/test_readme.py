"""What README.md says of the program is what the program says."""

from __future__ import annotations

import re
import shlex
import signal
import tomllib

import click
import pytest

from fmanet_cli import errors
from fmanet_cli.cli.interruption import Interruption
from fmanet_cli.cli.main import COMMANDS, main
from fmanet_cli.cli.terminal import READER_GONE_EXIT_CODE
from support.command_table import README, command_table, with_table

PAGE = README.read_text(encoding="utf-8")
SHELL_LINES = [
    line.partition(" #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith("fmanet ")
]


def test_the_table_of_commands_is_made_from_the_commands() -> None:
    assert with_table(PAGE) == PAGE, "run: python tests/support/command_table.py"
    assert command_table().count("\n| `fmanet ") == len(COMMANDS)


def test_the_table_follows_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "probe", "Say something else.")
    changed = with_table(PAGE)
    assert "| `fmanet probe FILE` | Say something else. |" in changed
    assert len(changed.splitlines()) == len(PAGE.splitlines())


@pytest.mark.parametrize("line", SHELL_LINES)
def test_commands_as_printed_are_understood(line: str) -> None:
    """Every option exists and every value fits; nothing is run."""
    _, name, *words = shlex.split(line)
    command = main.get_command(click.Context(main), name)
    assert command is not None, f"no command {name}"
    words = words[:1] if isinstance(command, click.Group) else words
    command.make_context(name, words)


def test_every_exit_code_has_a_row() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.FmanetError)]
    signals = [Interruption(number).exit_code for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    rows = re.findall(r"^\| ([\d, ]+) \| ", PAGE.partition("## When something goes wrong")[2], flags=re.MULTILINE)
    listed = {int(code) for row in rows for code in row.split(",")}
    assert listed == {0, READER_GONE_EXIT_CODE, *signals, *(kind.exit_code for kind in kinds)}
    assert listed == {int(code) for code in re.findall(r"\b\d+\b", main.epilog or "")}


def test_images_are_there_and_small() -> None:
    names = re.findall(r"!\[.*?\]\((.*?)\)", PAGE)
    assert names == ["examples/before-after.png"]
    assert (README.parent / names[0]).stat().st_size <= 300_000


def test_every_extra_for_users_is_listed() -> None:
    extras = tomllib.loads((README.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = set(
        re.findall(r"^\| `(\w+)` \| ", PAGE.partition("| extra |")[2].partition("\n\n")[0], flags=re.MULTILINE)
    )
    assert listed == set(extras["optional-dependencies"]) - {"test", "dev"}


def test_named_files_exist() -> None:
    for name in re.findall(r"`((?:examples|weights|tests)/[\w./-]+)`", PAGE):
        assert (README.parent / name).exists(), name
