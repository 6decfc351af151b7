"""`fmanet batch`: every video of a folder."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click

from fmanet_cli.cli.options import build_restorer, build_settings, engine_options, writing_options
from fmanet_cli.cli.progress import print_batch_table, show_batch
from fmanet_cli.cli.terminal import begin_logging, echo
from fmanet_cli.cli.worker_options import build_pool, worker_options


@click.command("batch")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder; the tree is mirrored in it."
)
@click.option("-r/-R", "--recursive/--no-recursive", default=True, help="Also folders inside.")
@click.option(
    "--include", multiple=True, default=("*",), metavar="PATTERN", help="Only file names that match; repeatable."
)
@click.option("--exclude", multiple=True, metavar="PATTERN", help="No file names that match; repeatable.")
@engine_options
@worker_options
@writing_options
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
def command(
    folder: Path,
    output: Path,
    recursive: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Restore every video of FOLDER. Finished ones are skipped, a broken one never stops the rest.

    What was made, from what and with which options is noted in OUT/.fmanet. Several of these commands may share a
    folder: each takes the videos that no other is at work on.

    Example: fmanet batch holiday/ -o sharp/
    """
    begin_logging(verbose=verbose)
    from fmanet_cli.restore.batch import plan_folder, run_batch
    from fmanet_cli.restore.folder import search_folder
    from fmanet_cli.restore.records import Records

    settings = build_settings(options)
    content = search_folder(folder, recursive=recursive, include=include, exclude=exclude, without=output)
    items = plan_folder(content, output)
    restorer, model_name = build_restorer(options)
    if not quiet:
        for note in content.notes():
            echo(note, err=True)
        echo(f"model {model_name} on {restorer.device}, {restorer.precision}, {len(items)} videos", err=True)
    pool = build_pool(restorer, options)
    with pool or contextlib.nullcontext():
        events = run_batch(
            items, restorer, settings=settings, model_name=model_name, records=Records(output), pool=pool
        )
        results = show_batch(events, quiet=quiet, count=len(items))
    if not quiet:
        print_batch_table(results)
    if any(result.error is not None for result in results):
        raise click.exceptions.Exit(1)
