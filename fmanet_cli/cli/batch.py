"""`fmanet batch`: every video of a folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from fmanet_cli.cli.options import build_restorer, build_settings, engine_options, writing_options
from fmanet_cli.cli.progress import print_batch_table, show_batch


@click.command("batch")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder; the tree is mirrored in it."
)
@click.option("-r/-R", "--recursive/--no-recursive", default=True, help="Also folders inside.")
@click.option("--include", default="*", metavar="PATTERN", help="Only file names that match.")
@engine_options
@writing_options
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
def command(
    folder: Path, output: Path, recursive: bool, include: str, quiet: bool, verbose: bool, **options: Any
) -> None:
    """Restore every video of FOLDER. Finished ones are skipped, a broken one never stops the rest.

    Example: fmanet batch holiday/ -o sharp/
    """
    logging.basicConfig(level=logging.DEBUG if verbose else logging.ERROR, format="%(name)s: %(message)s")
    from fmanet_cli.restore.batch import plan_folder, run_batch

    settings = build_settings(options)
    items = plan_folder(folder, output, recursive=recursive, pattern=include, overwrite=settings.overwrite)
    restorer, model_name = build_restorer(options)
    if not quiet:
        click.echo(f"model {model_name} on {restorer.device}, {restorer.precision}, {len(items)} videos", err=True)
    results = show_batch(
        run_batch(items, restorer, settings=settings, model_name=model_name), quiet=quiet, count=len(items)
    )
    if not quiet:
        print_batch_table(results)
    if any(result.error is not None for result in results):
        raise click.exceptions.Exit(1)
