"""Options of `restore` and `batch` that say how a run behaves, not what it makes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fmanet_cli.cli.options import Command, decorated
from fmanet_cli.cli.process import take_low_priority
from fmanet_cli.cli.sight import Whole

if TYPE_CHECKING:
    from fmanet_cli.restore.inputs import BatchItem
    from fmanet_cli.restore.settings import RestoreSettings


def run_options(command: Command) -> Command:
    """--report, --progress, --force, --low-priority, --quiet and --verbose."""
    return decorated(
        command,
        click.option(
            "--report",
            "report_path",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Write what was done as JSON.",
        ),
        click.option(
            "--progress", type=click.Choice(["bar", "json", "none"]), default="bar", help="On standard error."
        ),
        click.option("--force", is_flag=True, help="Begin although the disk is too small."),
        click.option("--low-priority", is_flag=True, help="Compute only while nothing else wants the processor."),
        click.option("-q", "--quiet", is_flag=True, help="Errors only."),
        click.option("-v", "--verbose", is_flag=True, help="Say more."),
    )


def obey_priority(options: dict[str, Any]) -> None:
    """Take the value of --low-priority out of `options`, before the libraries below begin their threads."""
    if options.pop("low_priority"):
        take_low_priority()


def look_at(items: list[BatchItem], settings: RestoreSettings, *, force: bool) -> Whole:
    """Open every video once: what all of them are together.

    Raises:
        VideoWriteError: the disk is too small, and that is not forced.
    """
    from fmanet_cli.restore.survey import check_disk, look

    files = [item for item in items if str(item.source) != "-"]
    looks = [look(item, settings) for item in files]
    if not force:
        check_disk(files, looks, settings)
    return Whole({item.target: found for item, found in zip(files, looks, strict=True) if found is not None})
