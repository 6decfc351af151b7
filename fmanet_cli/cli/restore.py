"""`fmanet restore`: one video, or several into a folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from fmanet_cli.cli.options import build_restorer, build_settings, engine_options, writing_options
from fmanet_cli.cli.progress import print_batch_table, print_summary, show_batch


@click.command("restore")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", metavar="OUT", help="File, folder, frames/%05d.png or -.  [default: beside the input]")
@click.option("--suffix", default="_fmanet", help="Added to the name where no output file is named.")
@engine_options
@writing_options
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
def command(
    inputs: tuple[str, ...], output: str | None, suffix: str, quiet: bool, verbose: bool, **options: Any
) -> None:
    """Restore blurry, low-resolution videos at 4x the size; sound, timestamps and tags are kept.

    INPUT is a video file, an image sequence such as frames/%05d.png, or - for standard input.

    \b
    Examples:
      fmanet restore clip.mp4 -o sharp.mp4
      fmanet restore *.mp4 -o restored/ --crf 14
    """
    logging.basicConfig(level=logging.DEBUG if verbose else logging.ERROR, format="%(name)s: %(message)s")
    from fmanet_cli.jobs.batch import BatchItem, plan_files, run_batch

    settings = build_settings(options)
    restorer, model_name = build_restorer(options)
    folder = Path(output) if output else None
    if len(inputs) > 1 or (folder is not None and (folder.is_dir() or output.endswith("/"))):  # type: ignore[union-attr]
        sources = [Path(name) for name in inputs]
        items = plan_files(sources, folder or Path(), suffix="" if folder else suffix, overwrite=settings.overwrite)
    else:
        items = [BatchItem(Path(inputs[0]), Path(output) if output else _beside(inputs[0], suffix))]
    if not quiet:
        click.echo(f"model {model_name} on {restorer.device}, {restorer.precision}", err=True)
    results = show_batch(
        run_batch(items, restorer, settings=settings, model_name=model_name), quiet=quiet, count=len(items)
    )
    if len(results) == 1:
        if results[0].error is not None:
            raise results[0].error
        if results[0].report is not None and not quiet:
            print_summary(results[0].report)
    elif not quiet:
        print_batch_table(results)
    if any(result.error is not None for result in results):
        raise click.exceptions.Exit(1)


def _beside(name: str, suffix: str) -> Path:
    """The output that goes with an input when none is named."""
    if name == "-" or "%" in Path(name).name:
        raise click.UsageError("--output is needed when the input is a pipe or an image sequence")
    from fmanet_cli.jobs.batch import writable_path

    path = Path(name)
    return writable_path(path.with_name(f"{path.stem}{suffix}{path.suffix}"))
