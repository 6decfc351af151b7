"""`fmanet batch`: every video of folders, patterns or a list."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fmanet_cli.cli.batch_inputs import input_options, read_jobs, take_search
from fmanet_cli.cli.options import build_restorer, build_settings, engine_options, writing_options
from fmanet_cli.cli.progress import print_batch_table
from fmanet_cli.cli.progress_lines import errors_as_lines, say_warning
from fmanet_cli.cli.run_options import look_at, obey_priority, run_options
from fmanet_cli.cli.run_report import ReportWriter, weights_file
from fmanet_cli.cli.running import Run
from fmanet_cli.cli.terminal import begin_logging, echo
from fmanet_cli.cli.worker_options import build_pool, worker_options
from fmanet_cli.errors import OptionError

if TYPE_CHECKING:
    from fmanet_cli.cli.sight import Whole
    from fmanet_cli.engine.restorer import Restorer
    from fmanet_cli.restore.batch import BatchResult
    from fmanet_cli.restore.folder import Search
    from fmanet_cli.restore.inputs import BatchItem
    from fmanet_cli.restore.settings import RestoreSettings


@click.command("batch")
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder; the tree is mirrored in it."
)
@input_options
@click.option("--dry-run", is_flag=True, help="Say what would be done and what it would take; nothing is written.")
@click.option("--watch", is_flag=True, help="Go on with videos that arrive, once they have stopped growing.")
@engine_options
@worker_options
@writing_options
@run_options
def command(
    inputs: tuple[str, ...],
    output: Path,
    jobs_file: Path | None,
    dry_run: bool,
    watch: bool,
    report_path: Path | None,
    progress: str,
    force: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Restore every video of INPUT: folders, files or patterns.

    Finished ones are skipped, a broken one never stops the rest. What was made, from what and with which options is
    noted in OUT/.fmanet. Several of these commands may share a folder: each takes the videos that no other is at work
    on.

    \b
    Examples:
      fmanet batch holiday/ -o sharp/ --dry-run
      fmanet batch holiday/ 'old/**/*.avi' -o sharp/ --low-priority
      fmanet batch --jobs-file jobs.csv -o sharp/
    """
    begin_logging(verbose=verbose)
    obey_priority(options)
    _check(inputs, jobs_file, report_path, dry_run=dry_run, watch=watch)
    with errors_as_lines(active=progress == "json"):
        search = take_search(options)
        items, notes = _listed(inputs, jobs_file, output, search, options, may_be_empty=watch)
        report = None
        if report_path is not None:
            read = (jobs_file, options["scene_detect"], weights_file(options["model"]))
            report = ReportWriter(report_path, options, items, read=read)
        settings = build_settings(options)
        whole = None if watch or dry_run else look_at(items, settings, force=force)
        restorer, model_name = build_restorer(options)
        if not quiet and progress != "json":
            for note in notes:
                echo(note, err=True)
        if dry_run:
            _show_plan(items, settings, restorer, output, force=force)
            return
        if report is not None:
            report.begin(items, model_name)
        pool = build_pool(restorer, options)
        run = Run(restorer, model_name, settings, pool, progress, quiet)
        with pool or contextlib.nullcontext():
            results = _watched(run, inputs, output, search) if watch else _restored(run, items, output, whole)
        if report is not None:
            report.end(results, restorer)
        if not quiet and progress != "json":
            print_batch_table(results)
        if any(result.error is not None for result in results):
            raise click.exceptions.Exit(1)


def _check(
    inputs: tuple[str, ...], jobs_file: Path | None, report_path: Path | None, *, dry_run: bool, watch: bool
) -> None:
    if not inputs and jobs_file is None:
        raise click.UsageError("give INPUT, a folder above all, or --jobs-file")
    if watch and (dry_run or jobs_file is not None or report_path is not None):
        raise click.UsageError("--watch does not know what will come: leave out --dry-run, --jobs-file and --report")


def _listed(
    inputs: tuple[str, ...],
    jobs_file: Path | None,
    output: Path,
    search: Search,
    options: dict[str, Any],
    *,
    may_be_empty: bool,
) -> tuple[list[BatchItem], list[str]]:
    """What is to be restored, and what was passed over."""
    from fmanet_cli.restore.inputs import plan_inputs, refuse_collisions

    items, notes = plan_inputs(inputs, output, search, may_be_empty=may_be_empty)
    if jobs_file is not None:
        items += read_jobs(jobs_file, output, search, options)
        refuse_collisions(items)
    return items, notes


def _restored(run: Run, items: list[BatchItem], output: Path, whole: Whole | None) -> list[BatchResult]:
    from fmanet_cli.restore.records import Records

    run.announce(f", {len(items)} video{'s' * (len(items) != 1)}")
    return run.over(items, count=len(items), whole=whole, records=Records(output))


def _watched(run: Run, inputs: tuple[str, ...], output: Path, search: Search) -> list[BatchResult]:
    """Restore what arrives, until it is interrupted."""
    from fmanet_cli.restore.records import Records
    from fmanet_cli.restore.watch import arrivals

    if not run.quiet and run.progress != "json":
        echo("watching; Ctrl-C ends it", err=True)
    run.announce()
    return run.over(arrivals(lambda: _found(inputs, output, search)), records=Records(output))


def _found(inputs: tuple[str, ...], output: Path, search: Search) -> list[BatchItem]:
    """What is there now; what cannot be planned is said and waits."""
    from fmanet_cli.restore.inputs import plan_inputs

    try:
        return plan_inputs(inputs, output, search, may_be_empty=True)[0]
    except OptionError as error:
        say_warning(str(error), as_json=False)
        return []


def _show_plan(
    items: list[BatchItem], settings: RestoreSettings, restorer: Restorer, output: Path, *, force: bool
) -> None:
    from fmanet_cli.cli.plan_table import print_plan
    from fmanet_cli.restore.records import Records
    from fmanet_cli.restore.survey import BatchPlan, plan_films

    plan = BatchPlan(films=tuple(plan_films(items, settings, restorer, Records(output))))
    print_plan(plan, output)
    if not force:
        plan.check_disk()
