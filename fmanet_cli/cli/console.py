"""Tables of rich, printed as `terminal` prints lines."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fmanet_cli.cli.terminal import printable, writing

_LEAST_WIDTH = 20
"""Below it (a terminal that says 0) nothing could be read."""

_USUAL_WIDTH = 80


class SafeConsole(Console):
    """A console whose texts cannot steer the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Every text that is printed or put into a table comes through here."""
        return super().render_str(printable(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """As `Console.print`; raise as `writing`."""
        with writing(err=self.stderr):
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Leave it to `writing`; rich would end the program with exit code 1, also for standard error."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class FilmTable:
    """A row for each film, whose name and remark are folded where they are long, so that nothing is cut off."""

    def __init__(self, **least: int) -> None:
        """Take the names of the columns between the film and the remark, each with the least width of it."""
        self._table = Table(box=None, pad_edge=False)
        self._table.add_column("video", overflow="fold", min_width=12)
        for name, width in least.items():
            self._table.add_column(name, min_width=width)
        self._table.add_column("remark", overflow="fold", min_width=12)

    def add(self, source: str, *fields: str) -> None:
        """Add a film; its name is not said again at the beginning of the remark."""
        *others, remark = fields
        self._table.add_row(*map(escape, (source, *others, remark.removeprefix(f"{source} "))))

    def print(self, *, err: bool = False) -> None:
        """On standard output or error."""
        make_console(err=err).print(self._table)


def facts_table(rows: Iterable[tuple[str, str]]) -> Table:
    """Names and values beside each other; a long value is folded, so that nothing is cut off."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(f"[bold]{name}[/bold]", escape(value))
    return table


def figures_table(first: str, *headings: str) -> Table:
    """An empty table of figures: a column of names, then one for each heading with its figures at the right."""
    table = Table(box=None, pad_edge=False)
    table.add_column(first)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def make_console(*, err: bool = False, piped_width: int | None = None, soft_wrap: bool = False) -> SafeConsole:
    """A console on standard output or error; piped_width: the least width where nobody watches."""
    console = SafeConsole(stderr=err, highlight=False, soft_wrap=soft_wrap)
    if console.width < _LEAST_WIDTH:
        console.width = _USUAL_WIDTH
    if piped_width is not None and not console.is_terminal:
        console.width = max(console.width, piped_width)
    return console
