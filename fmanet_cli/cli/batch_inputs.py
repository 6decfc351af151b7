"""The videos of `fmanet batch`: named ones, folders, patterns, and a file that lists them."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fmanet_cli.cli.options import Command, build_settings, decorated, taken
from fmanet_cli.errors import OptionError
from fmanet_cli.files import read_text

if TYPE_CHECKING:
    from fmanet_cli.restore.folder import Search
    from fmanet_cli.restore.inputs import BatchItem

_SOURCE, _OUTPUT = "source", "output"
_BETWEEN_FIELDS = ",;\t"
"""Spreadsheets write a semicolon where the comma is the decimal mark."""
_NOT_OF_A_FILE = ("resume", "overwrite")
"""What a whole batch decides."""


def input_options(command: Command) -> Command:
    """--jobs-file, --recursive, --include, --exclude and --suffix."""
    return decorated(
        command,
        click.option(
            "--jobs-file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="One path a line, or CSV: source, output and any of the options below for each file.",
        ),
        click.option("-r/-R", "--recursive/--no-recursive", default=True, help="Also folders inside."),
        click.option(
            "--include",
            multiple=True,
            default=("*",),
            metavar="PATTERN",
            help="Only file names that match; repeatable.",
        ),
        click.option("--exclude", multiple=True, metavar="PATTERN", help="No file names that match; repeatable."),
        click.option("--suffix", default="", help="Added to the name of each output, before its .mp4."),
    )


def take_search(options: dict[str, Any]) -> Search:
    """Take the values of `input_options` but the list out of `options`."""
    from fmanet_cli.restore.folder import Search

    return Search(**taken(options, "recursive", "include", "exclude", "suffix"))


def read_jobs(path: Path, output: Path, search: Search, options: dict[str, Any]) -> list[BatchItem]:
    """The videos that a file lists, in its order.

    Args:
        path: the file. Where its first line has a column `source` it is CSV, whose other columns are `output` (below
            `output`) and options of writing, such as `crf`; an empty field means the option of the command.
        output: folder of the outputs.
        search: what is added to the names of outputs that are not named.
        options: of the command.

    Raises:
        OptionError: the file cannot be read, or an entry is wrong; the line is named.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise OptionError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    lines = text.splitlines()
    between = next((mark for mark in _BETWEEN_FIELDS if _SOURCE in _heading(lines[:1], mark)), None)
    entries = list(_plain(lines) if between is None else _table(path, text, between))
    if not entries:
        raise OptionError(f"{path} lists no video")
    return _items(path, entries, output, search, options)


def _heading(first: list[str], between: str) -> list[str]:
    return [name.strip().lower() for name in next(csv.reader(first, delimiter=between), [])]


def _plain(lines: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            yield number, {_SOURCE: _unquoted(line.strip())}


def _unquoted(name: str) -> str:
    """A name without the quotes that file managers copy around a path, unless a file is called so."""
    quoted = len(name) > 2 and name[0] == name[-1] and name[0] in "\"'"
    return name[1:-1] if quoted and not os.path.lexists(name) else name


def _table(path: Path, text: str, between: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True, delimiter=between)
    reader.fieldnames = [name.strip().lower().replace("-", "_") for name in reader.fieldnames or ()]
    for row in reader:
        if None in row or None in row.values():
            raise OptionError(f"{path}, line {reader.line_num}: it has another number of fields than the heading")
        fields = {name: value.strip() for name, value in row.items() if value.strip()}
        if not fields:
            continue
        if _SOURCE not in fields:
            raise OptionError(f"{path}, line {reader.line_num}: it names no source")
        yield reader.line_num, fields


def _items(
    path: Path, entries: list[tuple[int, dict[str, str]]], output: Path, search: Search, options: dict[str, Any]
) -> list[BatchItem]:
    from fmanet_cli.restore.inputs import planned, writable_path

    pairs, chosen = [], []
    for number, fields in entries:
        source = Path(fields.pop(_SOURCE))
        named = fields.pop(_OUTPUT, None)
        copy = Path(named) if named else writable_path(Path(f"{source.stem}{search.suffix}{source.suffix}"))
        pairs.append((source, output / copy))
        try:
            chosen.append(build_settings({**options, **_converted(fields, options)}) if fields else None)
        except (OptionError, click.BadParameter) as error:
            reason = error.message if isinstance(error, click.BadParameter) else error
            raise OptionError(f"{path}, line {number}: {reason}") from error
    try:
        items = planned(pairs)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error
    return [replace(item, settings=own) for item, own in zip(items, chosen, strict=True)]


def _converted(fields: dict[str, str], options: dict[str, Any]) -> dict[str, Any]:
    """Fields of a line as the command line would give them."""
    context = click.get_current_context()
    params = [param for param in context.command.params if param.name in _of_writing(options)]
    # A column `source` names files, so --source goes by its longer name here.
    known = {name: param for param in params for name in _names(param) if name not in (_SOURCE, _OUTPUT)}
    values: dict[str, Any] = {}
    for name, text in fields.items():
        param = known.get(name)
        if param is None or param.name is None:
            raise OptionError(
                f"{name} is no option of a single file; use {', '.join((_SOURCE, _OUTPUT, *sorted(known)))}"
            )
        try:
            values[param.name] = param.type_cast_value(context, text.split() if param.multiple else text)
        except click.BadParameter as error:
            raise OptionError(f"{name}: {error.message}") from error
    return values


def _of_writing(options: dict[str, Any]) -> set[str]:
    """Names of the options that `build_settings` takes and that may differ from file to file."""
    left = dict(options)
    build_settings(left)
    return options.keys() - left.keys() - {*_NOT_OF_A_FILE}


def _names(param: click.Parameter) -> list[str]:
    """How an option is called in a heading."""
    return [name.lstrip("-").replace("-", "_") for name in param.opts if name.startswith("--")]
