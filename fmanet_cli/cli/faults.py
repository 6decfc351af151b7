"""One line and an exit code for every exception, whether it was foreseen or not."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path

import click

from fmanet_cli.cli.terminal import echo, one_line
from fmanet_cli.errors import DeviceError, FmanetError, UnexpectedError


def explain(error: BaseException) -> tuple[str, int]:
    """The line that says what happened, and the exit code.

    The traceback of an exception that nobody foresaw goes into a file, which the line names.
    """
    if isinstance(error, FmanetError) and not isinstance(error, UnexpectedError):
        return one_line(f"{error} ({_options(error.remedy)})" if error.remedy else error), error.exit_code
    if isinstance(error, MemoryError):
        return "memory does not suffice; close other programs or ask for smaller tiles", DeviceError.exit_code
    origin = error.__cause__ if isinstance(error, UnexpectedError) and error.__cause__ is not None else error
    what = one_line(f"{type(origin).__name__}: {origin}")
    return f"unexpected {what}; please report this with {_traceback_file(origin)}", UnexpectedError.exit_code


def _options(remedy: str) -> str:
    """Parameters as the command line spells them; variables of the environment stay as they are.

    `resume=False, on_error=continue` becomes `--no-resume, --on-error continue`.
    """
    words = []
    for part in remedy.split(", "):
        name, _, value = part.partition("=")
        option = name.replace("_", "-")
        if name.isupper():
            words.append(part)
        elif value == "False":
            words.append(f"--no-{option}")
        else:
            words.append(f"--{option} {value}".rstrip())
    return ", ".join(words)


def print_traceback(error: BaseException) -> None:
    """On standard error, for `--debug`."""
    echo("".join(traceback.format_exception(error)), err=True, nl=False)


def show_usage_error(error: click.ClickException) -> None:
    """As click shows it, without anything that steers the terminal."""
    context = getattr(error, "ctx", None)
    if context is not None:
        echo(context.get_usage(), err=True)
        echo(f"Try '{context.command_path} --help' for help.\n", err=True)
    echo(f"Error: {one_line(error.format_message())}", err=True)


def _traceback_file(error: BaseException) -> str:
    """Where the traceback is now; on standard error where no file can be made."""
    text = f"{' '.join(map(repr, sys.argv))}\n{''.join(traceback.format_exception(error))}"
    try:
        descriptor, name = tempfile.mkstemp(prefix="fmanet-error-", suffix=".txt")
        os.close(descriptor)
        Path(name).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError:
        echo(text, err=True)
        return "the lines above"
    return f"the traceback in {name}"
