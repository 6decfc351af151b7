"""The table of commands in README.md, made from the commands themselves.

    python tests/support/command_table.py

writes it; tests/test_readme.py fails where it is another one.
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from fmanet_cli.cli.main import COMMANDS, main

README = Path(__file__).parents[2] / "README.md"
BEGINNING = "<!-- Written by tests/support/command_table.py. -->"
_PLACE = re.compile(re.escape(BEGINNING) + r"\n\n(\|.*\n)*\n?")


def command_table() -> str:
    """One row a command, in the order of `fmanet --help`."""
    rows = [f"| `{_usage(name)}` | {line} |" for name, line in COMMANDS.items()]
    return "\n".join([BEGINNING, "", "| command | what it does |", "| --- | --- |", *rows, "", ""])


def with_table(page: str) -> str:
    """The page with the present table."""
    assert _PLACE.search(page), f"README.md has no line {BEGINNING}"
    return _PLACE.sub(lambda _: command_table(), page)


def _usage(name: str) -> str:
    """A command with its arguments and the options it cannot do without."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    context = click.Context(command)
    words = ["|".join(command.commands)] if isinstance(command, click.Group) else []
    for param in command.params:
        if isinstance(param, click.Argument):
            words.append(param.make_metavar(context))
        elif isinstance(param, click.Option) and param.required:
            words.append(f"{param.opts[0]} {param.make_metavar(context)}")
    return " ".join(["fmanet", name, *words]).replace("|", "\\|")


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
