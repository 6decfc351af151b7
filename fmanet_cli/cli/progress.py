"""What is said while a batch runs: bars on a terminal, lines elsewhere, and tables at its end."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from fmanet_cli.cli.faults import explain
from fmanet_cli.cli.interruption import Interruption, kept_text
from fmanet_cli.cli.sight import Sight, Whole
from fmanet_cli.cli.terminal import echo, frames_text

if TYPE_CHECKING:
    from fmanet_cli.restore.batch import BatchEvent, BatchResult
    from fmanet_cli.restore.outcome import RestoreReport
    from fmanet_cli.verify.result import VerificationResult


USAGE_EXIT_CODE = 2
"""Of errors that the same command would meet again."""


def show_batch(
    events: Generator[BatchEvent, None, None],
    *,
    quiet: bool,
    count: int | None,
    bars: bool = True,
    whole: Whole | None = None,
) -> list[BatchResult]:
    """Run a batch and show each video as it is restored; return the results in order.

    Args:
        events: of the batch.
        quiet: errors only.
        count: of all videos; None = nobody knows how many will come.
        bars: whether bars are shown where there is a terminal, and lines elsewhere.
        whole: how far all videos are together; None = that is not shown.
    """
    results: list[BatchResult] = []
    event: BatchEvent | None = None
    sight = Sight(quiet=quiet, bars=bars, count=count, whole=whole)
    try:
        for event in events:
            if event.progress is not None:
                sight.progress(event.item, event.progress, number=len(results) + 1)
            if event.result is not None:
                sight.end(event.item)
                results.append(event.result)
                number = f"{len(results)}/{count}" if count else str(len(results))
                _say_result(event.result, quiet=quiet, alone=count == 1, number=number)
    except KeyboardInterrupt as error:
        events.close()
        sight.close()
        if results and not quiet:
            print_batch_table(results)
        is_idle = event is not None and event.result is not None
        remark = "" if is_idle else kept_text(event.item.target if event is not None else None)
        raise Interruption.of(error, remark) from error
    finally:
        sight.close()
    return results


def _say_result(result: BatchResult, *, quiet: bool, alone: bool, number: str) -> None:
    """Why a video failed is said once: in the table at the end or, where there is none, at once."""
    if result.error is not None and not alone:
        why = f": {explain(result.error)[0]}" if quiet else ""
        echo(f"{number} {result.item.source}: failed{why}", err=True)
    if result.error is not None and result.error.exit_code != USAGE_EXIT_CODE:
        from fmanet_cli.restore.journal import kept_frames

        if kept_frames(result.item.target):
            echo(kept_text(result.item.target), err=True)
    if result.report is not None and not quiet:
        for warning in result.report.warnings:
            echo(f"warning: {warning}", err=True)


def print_summary(report: RestoreReport, *, parts: int = 0) -> None:
    """A small table of a finished run, on standard error; parts: how many it was joined from, 0 = it was restored."""
    from fmanet_cli.cli.console import facts_table, make_console

    (width, height), (new_width, new_height) = report.source_size, report.target_size
    rows = {
        "output": report.target,
        "frames": f"{report.frames} at {width}x{height} to {new_width}x{new_height}" + _kept_text(report, parts),
        **({} if report.shots is None else {"shots": str(report.shots)}),
        # Where no frame was restored there is no speed.
        "time": f"{report.seconds:.1f} s"
        + (f", {report.frames_per_second:.2f} frames/s" if report.frames > report.frames_resumed else ""),
        "model": report.model,
        **({} if report.strength == 1 else {"strength": f"{report.strength:g}, the rest is the enlarged source"}),
        **({} if report.source_look == "plain" else {"source": f"{report.source_look}, softened before the network"}),
        "device": f"{report.device}, {report.precision}, {report.tiling}",
        **({} if report.verification is None else {"verified": _verified_text(report.verification)}),
    }
    make_console(err=True).print(facts_table(rows.items()))


def _kept_text(report: RestoreReport, parts: int) -> str:
    """Where frames come from that this run has not restored."""
    if parts:
        return f", joined from {parts} part{'s' if parts > 1 else ''}"
    return f", {report.frames_resumed} of them from an interrupted run" if report.frames_resumed else ""


def _verified_text(verification: VerificationResult) -> str:
    """How many things were compared, and what the container could not hold."""
    lost = [row.what for row in verification.losses]
    compared = f"{len(verification.rows)} things compared with the source in {verification.seconds:.1f} s"
    return compared + (f"; not kept: {', '.join(lost)}" if lost else "")


def print_batch_table(results: list[BatchResult]) -> None:
    """One row for each video, on standard error."""
    from fmanet_cli.cli.console import FilmTable

    table = FilmTable(state=7, frames=6, seconds=7)
    for result in results:
        report, remark = result.report, result.item.skip_reason
        if result.error is not None:
            remark = explain(result.error)[0]
        elif report is not None:
            remark = str(report.target)
            if report.frames_resumed:
                remark += f", {frames_text(report.frames_resumed)} from an interrupted run"
        frames, seconds = (str(report.frames), f"{report.seconds:.1f}") if report else ("", "")
        table.add(str(result.item.source), result.state, frames, seconds, remark)
    table.print(err=True)
    counts = {state: sum(result.state == state for result in results) for state in ("done", "skipped", "failed")}
    echo(", ".join(f"{count} {state}" for state, count in counts.items() if count), err=True)
