"""Options from the environment: `FMANET_RESTORE_CRF=14` is `--crf 14` of `fmanet restore`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click

from fmanet_cli.errors import closest

PREFIX = "FMANET"
OWN_NAMES = ("FMANET_CACHE", "FMANET_OFFLINE", "FMANET_DEBUG")
"""Variables that are no option of a command."""


def variable_names(option: click.Option, command_path: tuple[str, ...]) -> list[str]:
    """Under which names an option of a command is looked for: every long spelling of it."""
    spellings = [name.lstrip("-") for name in option.opts if name.startswith("--")] + [option.name or ""]
    names = ["_".join((PREFIX, *command_path, spelling)).upper().replace("-", "_") for spelling in spellings]
    return list(dict.fromkeys(names))


def unknown_variables(group: click.Group) -> list[str]:
    """One sentence for each variable that looks like an option and is none."""
    given = sorted(name for name in os.environ if name.startswith(f"{PREFIX}_") and name not in OWN_NAMES)
    if not given:
        return []
    known = {name for option in _options(group, click.Context(group)) for name in option.envvar or ()} | {*OWN_NAMES}
    return [_sentence(name, known) for name in given if name not in known]


def _options(command: click.Command, context: click.Context) -> Iterator[click.Option]:
    yield from (param for param in command.params if isinstance(param, click.Option))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if (below := command.get_command(context, name)) is not None:
                yield from _options(below, context)


def _sentence(name: str, known: set[str]) -> str:
    meant = closest(name, sorted(known))
    hint = f"; did you mean {meant}?" if meant else ""
    return f"the environment variable {name} is unknown and has no effect{hint}"
