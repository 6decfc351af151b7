"""`fmanet restore`: one video, or several into a folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fmanet_cli.cli.options import build_restorer, build_settings, engine_options, writing_options
from fmanet_cli.cli.progress import print_batch_table, print_summary, show_batch
from fmanet_cli.cli.progress_lines import errors_as_lines, say, stream_batch
from fmanet_cli.cli.run_report import ReportWriter, load_report

if TYPE_CHECKING:
    from fmanet_cli.engine.restorer import Restorer
    from fmanet_cli.restore.batch import BatchItem, BatchResult
    from fmanet_cli.restore.job import RestoreSettings


@click.command("restore")
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("-o", "--output", metavar="OUT", help="File, folder, frames/%05d.png or -.  [default: beside the input]")
@click.option("--suffix", default="_fmanet", help="Added to the name where no output file is named.")
@engine_options
@writing_options
@click.option(
    "--report", "report_path", type=click.Path(path_type=Path), metavar="FILE", help="Write what was done as JSON."
)
@click.option(
    "--from-report", type=click.Path(path_type=Path), metavar="FILE", help="Repeat a run; options given here win."
)
@click.option("--progress", type=click.Choice(["bar", "json", "none"]), default="bar", help="On standard error.")
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
def command(
    inputs: tuple[str, ...],
    output: str | None,
    suffix: str,
    report_path: Path | None,
    from_report: Path | None,
    progress: str,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Restore blurry, low-resolution videos at 4x the size; sound, timestamps and tags are kept.

    INPUT is a video file, an image sequence such as frames/%05d.png, or - for standard input.

    \b
    Examples:
      fmanet restore clip.mp4 -o sharp.mp4
      fmanet restore *.mp4 -o restored/ --crf 14
      fmanet restore clip.mp4 --report run.json
      fmanet restore --from-report run.json -o again.mp4
    """
    logging.basicConfig(level=logging.DEBUG if verbose else logging.ERROR, format="%(name)s: %(message)s")
    if bool(inputs) == (from_report is not None):
        raise click.UsageError("give INPUT, or --from-report without INPUT")
    with errors_as_lines(active=progress == "json"):
        if from_report is not None:
            items = load_report(from_report, options, output=output)
        report = ReportWriter(report_path, options) if report_path is not None else None
        settings = build_settings(options)
        restorer, model_name = build_restorer(options)
        if from_report is None:
            items = _items(inputs, output, suffix, overwrite=settings.overwrite)
        if report is not None:
            report.begin(items, model_name)
        results = _run(items, restorer, settings, model_name, progress="none" if quiet else progress, quiet=quiet)
        if report is not None:
            report.end(results, restorer)
        _conclude(results, quiet=quiet or progress == "json", raises=progress != "json")


def _items(inputs: tuple[str, ...], output: str | None, suffix: str, *, overwrite: bool) -> list[BatchItem]:
    """Which video goes where."""
    from fmanet_cli.restore.batch import BatchItem, plan_files

    folder = Path(output) if output else None
    if len(inputs) > 1 or (folder is not None and (folder.is_dir() or output.endswith("/"))):  # type: ignore[union-attr]
        sources = [Path(name) for name in inputs]
        return plan_files(sources, folder or Path(), suffix="" if folder else suffix, overwrite=overwrite)
    return [BatchItem(Path(inputs[0]), Path(output) if output else _beside(inputs[0], suffix))]


def _run(
    items: list[BatchItem],
    restorer: Restorer,
    settings: RestoreSettings,
    model_name: str,
    *,
    progress: str,
    quiet: bool,
) -> list[BatchResult]:
    from fmanet_cli.restore.batch import run_batch

    events = run_batch(items, restorer, settings=settings, model_name=model_name)
    if progress == "json":
        say("model", model=model_name, device=str(restorer.device), precision=restorer.precision)
        return stream_batch(events)
    if not quiet:
        click.echo(f"model {model_name} on {restorer.device}, {restorer.precision}", err=True)
    return show_batch(events, quiet=quiet, count=len(items), bars=progress == "bar")


def _conclude(results: list[BatchResult], *, quiet: bool, raises: bool) -> None:
    """Tables, and the exit code."""
    failed = next((result.error for result in results if result.error is not None), None)
    if len(results) == 1:
        if failed is not None and raises:
            raise failed
        if failed is not None:
            raise click.exceptions.Exit(failed.exit_code)
        if results[0].report is not None and not quiet:
            print_summary(results[0].report)
        return
    if not quiet:
        print_batch_table(results)
    if failed is not None:
        raise click.exceptions.Exit(1)


def _beside(name: str, suffix: str) -> Path:
    """The output that goes with an input when none is named."""
    if name == "-" or "%" in Path(name).name:
        raise click.UsageError("--output is needed when the input is a pipe or an image sequence")
    from fmanet_cli.restore.batch import writable_path

    path = Path(name)
    return writable_path(path.with_name(f"{path.stem}{suffix}{path.suffix}"))
