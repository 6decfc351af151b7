"""The command group and the error boundary of `fmanet`."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import click

from fmanet_cli._version import __version__
from fmanet_cli.errors import FmanetError

COMMANDS = {
    "restore": "Restore a blurry, low-resolution video at 4x the size.",
    "batch": "Restore every video of a folder.",
    "weights": "List, download, import, verify and remove weights.",
    "evaluate": "Measure PSNR, SSIM and tOF against the truth.",
    "train": "Train a network from photographs or video.",
    "verify": "Prove that a restored copy has everything of its source.",
    "probe": "Say what is in a file and what restoring it would lose.",
    "bench": "Measure speed and memory on this machine.",
    "doctor": "Say what this machine offers and what is missing.",
}
"""Command names and the one line that `fmanet --help` shows, so that it need not import them."""

EPILOG = """\b
Exit codes:
  0 done    1 some files of a batch failed    2 wrong usage    3 input unreadable    4 weights
  5 device or memory    6 output failed verification    7 output cannot be written    130 interrupted

\b
Example:
  fmanet restore holiday.mp4 -o sharp.mp4
"""


class FmanetGroup(click.Group):
    """Imports a command when it is used, takes a path as `restore`, and shows own errors as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"fmanet_cli.cli.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Lists the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A first word that is an existing path means `restore`; a misspelt command gets a suggestion."""
        name = args[0]
        if name not in COMMANDS:
            if Path(name).exists():
                return super().resolve_command(ctx, ["restore", *args])
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else " See 'fmanet --help'."
            ctx.fail(f"No such command or file {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the command line; an `FmanetError` becomes one line on standard error and its exit code."""
        kwargs["standalone_mode"] = False
        # Torch reads this at its first allocation. With large pages a window costs a tenth less on a CPU, because the
        # network takes and returns tensors of megabytes all the time.
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
        try:
            code = super().main(*args, **kwargs)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.ctx.get_help() if error.ctx else "", err=True)
            code = 2
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except click.Abort:
            click.echo("interrupted", err=True)
            code = 130
        except FmanetError as error:
            if os.environ.get("FMANET_DEBUG"):
                raise
            click.echo(f"error: {' '.join(str(error).split())}", err=True)
            code = error.exit_code
        sys.exit(code if isinstance(code, int) else 0)


@click.group(
    cls=FmanetGroup,
    epilog=EPILOG,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "FMANET",
        "token_normalize_func": lambda name: name.replace("_", "-"),
        "show_default": True,
    },
)
@click.version_option(__version__, prog_name="fmanet")
def main() -> None:
    """Turn a blurry, low-resolution video into a sharp one at 4x the size."""
