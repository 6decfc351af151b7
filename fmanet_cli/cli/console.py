"""Tables of rich, printed as `terminal` prints lines."""

from __future__ import annotations

from typing import Any

from rich.console import Console
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
        """As `Console.print`; raises VideoWriteError when standard output cannot take it."""
        with writing(err=self.stderr):
            super().print(*objects, **options)


def make_console(*, err: bool = False, piped_width: int | None = None, soft_wrap: bool = False) -> SafeConsole:
    """A console on standard output or error; piped_width: the least width where nobody watches."""
    console = SafeConsole(stderr=err, highlight=False, soft_wrap=soft_wrap)
    if console.width < _LEAST_WIDTH:
        console.width = _USUAL_WIDTH
    if piped_width is not None and not console.is_terminal:
        console.width = max(console.width, piped_width)
    return console
