"""The command line, called in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from fmanet_cli.cli.main import main


def fmanet(*words: object) -> Result:
    """Run `fmanet WORDS...`; what it printed, and its exit code."""
    return CliRunner().invoke(main, [str(word) for word in words])
