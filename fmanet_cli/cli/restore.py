"""`fmanet restore`: one video, or several into a folder."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fmanet_cli.cli.names import check_items, plan_inputs
from fmanet_cli.cli.options import build_restorer, build_settings, engine_options, writing_options
from fmanet_cli.cli.part_run import run_part
from fmanet_cli.cli.progress import print_batch_table, print_summary
from fmanet_cli.cli.progress_lines import errors_as_lines
from fmanet_cli.cli.run_options import look_at, obey_priority, run_options
from fmanet_cli.cli.run_report import ReportWriter, load_report, weights_file
from fmanet_cli.cli.running import Run
from fmanet_cli.cli.terminal import begin_logging
from fmanet_cli.cli.worker_options import build_pool, worker_options
from fmanet_cli.errors import UnexpectedError

if TYPE_CHECKING:
    from fmanet_cli.cli.sight import Whole
    from fmanet_cli.restore.batch import BatchResult
    from fmanet_cli.restore.inputs import BatchItem


@click.command("restore")
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("-o", "--output", metavar="OUT", help="File, folder, frames/%05d.png or -.  [default: beside the input]")
@click.option("--suffix", default="_fmanet", help="Added to the name where no output file is named.")
@engine_options
@worker_options
@writing_options
@click.option(
    "--from-report", type=click.Path(path_type=Path), metavar="FILE", help="Repeat a run; options given here win."
)
@click.option("--part", metavar="K/N", help="Only every N-th span, beginning with the K-th; then 'fmanet join'.")
@run_options
def command(
    inputs: tuple[str, ...],
    output: str | None,
    suffix: str,
    report_path: Path | None,
    from_report: Path | None,
    part: str | None,
    progress: str,
    force: bool,
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
    begin_logging(verbose=verbose)
    obey_priority(options)
    if bool(inputs) == (from_report is not None):
        raise click.UsageError("give INPUT, or --from-report without INPUT")
    with errors_as_lines(active=progress == "json"):
        if from_report is not None:
            items = load_report(from_report, options, output=output)
        else:
            items = plan_inputs(inputs, output, suffix, overwrite=options["overwrite"])
        check_items(items, overwrite=options["overwrite"])
        if part is not None:
            _refuse_with_part(items, report_path, progress)
        report = None
        if report_path is not None:
            read = (from_report, options["scene_detect"], weights_file(options["model"]))
            report = ReportWriter(report_path, options, items, read=read)
        settings = build_settings(options)
        whole = look_at(items, settings, force=force)
        restorer, model_name = build_restorer(options)
        if report is not None:
            report.begin(items, model_name)
        pool = build_pool(restorer, options)
        run = Run(restorer, model_name, settings, pool, "none" if quiet else progress, quiet)
        with pool or contextlib.nullcontext():
            if part is not None:
                run_part(run, items[0], part)
                return
            results = _restored(run, items, whole)
        if report is not None:
            report.end(results, restorer)
        _conclude(results, quiet=quiet or progress == "json", raises=progress != "json")


def _refuse_with_part(items: list[BatchItem], report_path: Path | None, progress: str) -> None:
    if len(items) != 1:
        raise click.UsageError(f"--part is of one video, got {len(items)}")
    if report_path is not None or progress == "json":
        raise click.UsageError("--part has no --report and no --progress json: the film is finished by 'fmanet join'")


def _restored(run: Run, items: list[BatchItem], whole: Whole) -> list[BatchResult]:
    from fmanet_cli.cli.plan import say_long_run

    run.announce()
    if run.progress == "bar" and len(items) == 1:
        say_long_run(items[0].source, items[0].target, run.restorer, run.settings)
    return run.over(items, count=len(items), whole=whole)


def _conclude(results: list[BatchResult], *, quiet: bool, raises: bool) -> None:
    """Tables, and the exit code."""
    failed = next((result.error for result in results if result.error is not None), None)
    if len(results) == 1:
        if failed is not None and raises:
            raise failed.__cause__ if isinstance(failed, UnexpectedError) and failed.__cause__ else failed
        if failed is not None:
            raise click.exceptions.Exit(failed.exit_code)
        if results[0].report is not None and not quiet:
            print_summary(results[0].report)
        return
    if not quiet:
        print_batch_table(results)
    if failed is not None:
        raise click.exceptions.Exit(1)
