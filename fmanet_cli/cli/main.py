"""The command group and the error boundary of `fmanet`."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from fmanet_cli._version import __version__
from fmanet_cli.cli.faults import explain, print_traceback, show_usage_error
from fmanet_cli.cli.interruption import Interruption, ended_by_signals
from fmanet_cli.cli.names import refusing_odd_texts
from fmanet_cli.cli.process import tune_libraries
from fmanet_cli.cli.progress_lines import say_warning
from fmanet_cli.cli.terminal import echo, keep_descriptors
from fmanet_cli.cli.variables import unknown_variables, variable_names
from fmanet_cli.errors import did_you_mean
from fmanet_cli.files import similar_file

COMMANDS = {
    "restore": "Restore a blurry, low-resolution video at 4x the size.",
    "batch": "Restore every video of folders, patterns or a list.",
    "join": "Join the parts of a video that several machines have restored.",
    "weights": "List, download, import, verify and remove weights.",
    "evaluate": "Measure PSNR, SSIM and tOF against the truth.",
    "train": "Train a network from photographs or video.",
    "preview": "Restore a few moments of a video, before all of it.",
    "plan": "Say what restoring a video takes, and whether it will help.",
    "verify": "Prove that a restored copy has everything of its source.",
    "probe": "Say what is in a file and what restoring it would lose.",
    "explain": "Show how the network restores one frame: flows, masks, kernels.",
    "compare": "Show a film and its restored copy beside each other.",
    "bench": "Measure speed and memory on this machine.",
    "doctor": "Say what this machine offers and what is missing.",
}
"""Command names and the one line that `fmanet --help` shows, so that it need not import them."""

EPILOG = """\b
Exit codes:
  0 done    1 some files of a batch failed, or a fault of fmanet itself    2 wrong usage
  3 input unreadable    4 weights    5 device or memory    6 output failed verification
  7 output cannot be written    8 training stopped    130 interrupted (143 by SIGTERM, 129 by SIGHUP)
  141 whoever read standard output has gone, as head does

\b
Example:
  fmanet restore holiday.mp4 -o sharp.mp4
"""


BEGINNING = f"""\
fmanet {__version__} turns a blurry, low-resolution video into a sharp one at 4x the size. To begin:

  fmanet restore VIDEO -o sharp.mp4    one video
  fmanet batch FOLDER -o sharp/        every video of a folder
  fmanet probe VIDEO                   what is in a file, and what restoring it would lose

'fmanet --help' lists all commands, 'fmanet COMMAND --help' the options of one."""
"""What `fmanet` alone says."""


class FmanetGroup(click.Group):
    """Imports a command when it is used, takes a path as `restore`, and shows every error as one line."""

    debug = False
    """Whether tracebacks are shown."""

    words: tuple[str, ...] = ()
    """The command line that is running, without the name of the program."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        return self._prepared(importlib.import_module(f"fmanet_cli.cli.{cmd_name}").command, (cmd_name,))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A first word that is a path means `restore`, `help COMMAND` is `COMMAND --help`; misspelt ones get a hint."""
        name = args[0]
        if name == "help":
            words = [word for word in args[1:] if not word.startswith("-")]
            return super().resolve_command(ctx, [*words, "--help"]) if words else (name, _help_of(self), [])
        if name not in COMMANDS:
            if os.path.isdir(name):
                ctx.fail(f"{name} is a folder: fmanet batch {name} -o OUT restores every video in it")
            if name == "-" or "%" in name or os.path.lexists(name):
                return super().resolve_command(ctx, ["restore", *args])
            hint = did_you_mean(name, COMMANDS) or similar_file(name) or " See 'fmanet --help'."
            ctx.fail(f"No such command or file {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line; whatever goes wrong becomes one line on standard error and an exit code."""
        kwargs["standalone_mode"] = False
        given = args[0] if args else kwargs.get("args")
        self.words = tuple(sys.argv[1:] if given is None else given)
        self.debug = bool(os.environ.get("FMANET_DEBUG"))
        keep_descriptors()
        tune_libraries()
        with ended_by_signals():
            try:
                code = super().main(*args, **kwargs)
            except click.exceptions.NoArgsIsHelpError as error:
                echo(BEGINNING if error.ctx is None or error.ctx.parent is None else error.ctx.get_help(), err=True)
                code = error.exit_code
            except click.ClickException as error:
                show_usage_error(error)
                code = error.exit_code
            except (Exception, KeyboardInterrupt) as error:
                code = self._explained(error)
        sys.exit(code if isinstance(code, int) else 0)

    def _explained(self, error: BaseException) -> int:
        cause = error.__cause__ if isinstance(error, click.Abort) else error
        if isinstance(error, click.Abort) and not isinstance(cause, EOFError):
            cause = cause if isinstance(cause, KeyboardInterrupt) else KeyboardInterrupt()
        if isinstance(cause, KeyboardInterrupt):
            stopped = Interruption.of(cause)
            echo(": ".join(filter(None, ("interrupted", stopped.remark))), err=True)
            return stopped.exit_code
        assert cause is not None
        if self.debug:
            print_traceback(cause)
        line, code = explain(cause)
        echo(f"error: {line}", err=True)
        return code

    def _prepared(self, command: click.Command, path: tuple[str, ...]) -> click.Command:
        """The command with what every command has: --debug, and its options in the environment."""
        if any(param.name == "debug" for param in command.params):
            return command
        for param in command.params:
            param.type_cast_value = refusing_odd_texts(param)  # type: ignore[method-assign,assignment]
            if isinstance(param, click.Option) and param.envvar is None:
                param.envvar = variable_names(param, path)
        command.params.append(self._debug_option())
        if isinstance(command, click.Group):
            for name, below in command.commands.items():
                self._prepared(below, (*path, name))
        elif command.callback is not None:
            command.callback = self._naming_variables(command.callback)
        return command

    def _debug_option(self) -> click.Option:
        def switch(_context: click.Context, _param: click.Parameter, value: bool) -> None:
            self.debug = self.debug or value

        return click.Option(
            ["--debug"], is_flag=True, expose_value=False, callback=switch, help="Show the traceback of an error."
        )

    def _naming_variables(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(callback)
        def run(*args: Any, **kwargs: Any) -> Any:
            given = click.get_current_context().params
            for sentence in [] if given.get("quiet") else unknown_variables(self):
                say_warning(sentence, as_json=given.get("progress") == "json")
            return callback(*args, **kwargs)

        return run


def _help_of(group: click.Group) -> click.Command:
    def show() -> None:
        context = click.get_current_context().parent
        assert context is not None
        echo(group.get_help(context))

    return click.Command("help", callback=show)


@click.group(
    cls=FmanetGroup,
    epilog=EPILOG,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: name.replace("_", "-"),
        "show_default": True,
    },
)
@click.version_option(__version__, "-V", "--version", prog_name="fmanet")
def main() -> None:
    """Turn a blurry, low-resolution video into a sharp one at 4x the size."""


main.params.append(main._debug_option())
