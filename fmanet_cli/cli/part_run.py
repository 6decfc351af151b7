"""What is said while one part of a film is restored, or all are joined."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from fmanet_cli.cli.progress import print_summary, show_batch
from fmanet_cli.cli.sight import clock_text
from fmanet_cli.cli.terminal import echo, frames_text

if TYPE_CHECKING:
    from fmanet_cli.cli.running import Run
    from fmanet_cli.restore.batch import BatchEvent
    from fmanet_cli.restore.inputs import BatchItem
    from fmanet_cli.restore.job import RestoreJob
    from fmanet_cli.restore.part_job import JoinJob


def run_part(run: Run, item: BatchItem, part: str) -> None:
    """Restore one part, given as `K/N`, and say how to go on."""
    from fmanet_cli.restore.part_job import PartJob
    from fmanet_cli.restore.parts import Part

    job = PartJob(
        item.source,
        item.target,
        run.restorer,
        part=Part.parse(part),
        settings=run.settings,
        model_name=run.model_name,
        pool=run.pool,
    )
    run.announce(f", part {part}")
    show_batch(_events(item, job), quiet=run.quiet, count=1, bars=run.progress == "bar")
    report = job.part_report
    if report is None or run.quiet:
        return
    for warning in report.warnings:
        echo(f"warning: {warning}", err=True)
    resumed = f", {report.frames_resumed} of them were there" if report.frames_resumed else ""
    echo(
        f"part {report.part} is done: {frames_text(report.frames)}{resumed}, {clock_text(report.seconds)}; "
        f"after all parts: fmanet join {item.target}",
        err=True,
    )


def run_join(item: BatchItem, job: JoinJob, *, quiet: bool) -> None:
    """Join the parts and print the summary."""
    show_batch(_events(item, job), quiet=quiet, count=1)
    assert job.report is not None
    if not quiet:
        for warning in job.report.warnings:
            echo(f"warning: {warning}", err=True)
        print_summary(job.report, parts=job.part_count)


def _events(item: BatchItem, job: RestoreJob) -> Generator[BatchEvent, None, None]:
    from fmanet_cli.restore.batch import BatchEvent

    for progress in job.run():
        yield BatchEvent(item, progress=progress)
