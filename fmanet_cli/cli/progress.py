"""Bars while a batch runs, and tables at its end."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fmanet_cli.jobs.batch import BatchEvent, BatchResult
    from fmanet_cli.jobs.restore import RestoreReport


def show_batch(events: Iterable[BatchEvent], *, quiet: bool, count: int) -> list[BatchResult]:
    """Runs a batch with one bar for each video; the results in order."""
    from tqdm import tqdm

    results: list[BatchResult] = []
    bar = None
    try:
        for event in events:
            if event.progress is not None:
                if bar is None:
                    label = (
                        event.item.source.name if count == 1 else f"{len(results) + 1}/{count} {event.item.source.name}"
                    )
                    bar = tqdm(
                        total=event.progress.frames_expected,
                        desc=label,
                        unit="frame",
                        disable=quiet or None,
                        file=sys.stderr,
                    )
                bar.update(event.progress.frames_done - bar.n)
            if event.result is not None:
                if bar is not None:
                    bar.close()
                    bar = None
                results.append(event.result)
                _say_result(event.result, quiet=quiet, alone=count == 1)
    finally:
        if bar is not None:
            bar.close()
    return results


def _say_result(result: BatchResult, *, quiet: bool, alone: bool) -> None:
    if result.error is not None and not alone:
        click.echo(f"error: {result.item.source}: {' '.join(str(result.error).split())}", err=True)
    if result.report is not None and not quiet:
        for warning in result.report.warnings:
            click.echo(f"warning: {warning}", err=True)


def print_summary(report: RestoreReport) -> None:
    """A small table of a finished run, on standard error."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    (width, height), (new_width, new_height) = report.source_size, report.target_size
    rows = {
        "output": report.target,
        "frames": f"{report.frames} at {width}x{height} to {new_width}x{new_height}",
        "time": f"{report.seconds:.1f} s, {report.frames_per_second:.2f} frames/s",
        "model": report.model,
        "device": f"{report.device}, {report.precision}"
        + (f", tiles of {report.tile}" if report.tile else ", whole pictures"),
    }
    for name, value in rows.items():
        table.add_row(f"[bold]{name}[/bold]", value.replace("[", r"\["))
    Console(stderr=True, soft_wrap=True).print(table)


def print_batch_table(results: list[BatchResult]) -> None:
    """One row for each video, on standard error."""
    from rich.console import Console
    from rich.table import Table

    table = Table("video", "state", "frames", "seconds", "remark")
    for result in results:
        report, remark = result.report, result.item.skip_reason
        if result.error is not None:
            remark = " ".join(str(result.error).split())
        elif report is not None:
            remark = str(report.target)
        frames, seconds = (str(report.frames), f"{report.seconds:.1f}") if report else ("", "")
        table.add_row(str(result.item.source), result.state, frames, seconds, remark.replace("[", r"\["))
    Console(stderr=True).print(table)
