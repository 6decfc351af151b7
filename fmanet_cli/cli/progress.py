"""Bars while a batch runs, and tables at its end."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fmanet_cli.restore.batch import BatchEvent, BatchResult
    from fmanet_cli.restore.job import RestoreReport
    from fmanet_cli.verify.result import VerificationResult


USAGE_EXIT_CODE = 2
"""Of errors that the same command would meet again."""


def show_batch(
    events: Generator[BatchEvent, None, None], *, quiet: bool, count: int, bars: bool = True
) -> list[BatchResult]:
    """Runs a batch with one bar for each video, or without; the results in order."""
    from tqdm import tqdm

    results: list[BatchResult] = []
    event: BatchEvent | None = None
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
                        initial=event.progress.frames_done,
                        desc=label,
                        unit="frame",
                        disable=quiet or not bars or None,
                        file=sys.stderr,
                    )
                bar.update(event.progress.frames_done - bar.n)
            if event.result is not None:
                if bar is not None:
                    bar.close()
                    bar = None
                results.append(event.result)
                _say_result(event.result, quiet=quiet, alone=count == 1)
    except KeyboardInterrupt:
        events.close()
        if event is not None:
            _say_kept(event.item.target)
        raise
    finally:
        if bar is not None:
            bar.close()
    return results


def _say_result(result: BatchResult, *, quiet: bool, alone: bool) -> None:
    if result.error is not None and not alone:
        click.echo(f"error: {result.item.source}: {' '.join(str(result.error).split())}", err=True)
    if result.error is not None and result.error.exit_code != USAGE_EXIT_CODE:
        _say_kept(result.item.target)
    if result.report is not None and not quiet:
        for warning in result.report.warnings:
            click.echo(f"warning: {warning}", err=True)


def _say_kept(target: Path) -> None:
    from fmanet_cli.restore.journal import kept_frames

    if frames := kept_frames(target):
        click.echo(f"{frames} frames of {target} are kept; run the same command again to go on", err=True)


def print_summary(report: RestoreReport) -> None:
    """A small table of a finished run, on standard error."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    (width, height), (new_width, new_height) = report.source_size, report.target_size
    rows = {
        "output": report.target,
        "frames": f"{report.frames} at {width}x{height} to {new_width}x{new_height}"
        + (f", {report.frames_resumed} of them from an interrupted run" if report.frames_resumed else ""),
        **({} if report.shots is None else {"shots": str(report.shots)}),
        "time": f"{report.seconds:.1f} s, {report.frames_per_second:.2f} frames/s",
        "model": report.model,
        "device": f"{report.device}, {report.precision}, {report.tiling}",
        **({} if report.verification is None else {"verified": _verified_text(report.verification)}),
    }
    for name, value in rows.items():
        table.add_row(f"[bold]{name}[/bold]", value.replace("[", r"\["))
    Console(stderr=True, soft_wrap=True).print(table)


def _verified_text(verification: VerificationResult) -> str:
    """How many things were compared, and what the container could not hold."""
    lost = [row.what for row in verification.losses]
    compared = f"{len(verification.rows)} things compared with the source in {verification.seconds:.1f} s"
    return compared + (f"; not kept: {', '.join(lost)}" if lost else "")


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
