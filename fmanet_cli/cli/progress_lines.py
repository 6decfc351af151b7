"""Progress for programs: one JSON object a line on standard error."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from fmanet_cli.cli.faults import explain
from fmanet_cli.cli.interruption import Interruption, kept_text
from fmanet_cli.cli.sight import Pace
from fmanet_cli.cli.terminal import echo

if TYPE_CHECKING:
    from fmanet_cli.restore.batch import BatchEvent, BatchResult
    from fmanet_cli.restore.inputs import BatchItem
    from fmanet_cli.restore.outcome import RestoreProgress

_LEAST_SECONDS_BETWEEN_LINES = 0.1


def say(event: str, **fields: Any) -> None:
    """One line with the name of an event and what belongs to it."""
    echo(json.dumps({"event": event, **fields}), err=True)


def say_warning(text: str, *, as_json: bool) -> None:
    """A warning that belongs to no video."""
    if as_json:
        say("warning", message=text)
    else:
        echo(f"warning: {text}", err=True)


@contextlib.contextmanager
def errors_as_lines(*, active: bool) -> Iterator[None]:
    """Turn an error or an interruption into a line and its exit code, where that is asked for."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except KeyboardInterrupt as error:
        if not active:
            raise
        stopped = Interruption.of(error)
        say("interrupted", message=stopped.remark, exit_code=stopped.exit_code)
        raise click.exceptions.Exit(stopped.exit_code) from error
    except Exception as error:
        if not active or os.environ.get("FMANET_DEBUG"):
            raise
        message, code = explain(error)
        say("error", state="failed", message=message, exit_code=code)
        raise click.exceptions.Exit(code) from error


def stream_batch(events: Generator[BatchEvent, None, None]) -> list[BatchResult]:
    """Run a batch and say what happens: `start`, `progress` (at most ten a second) and `end` of every video."""
    results: list[BatchResult] = []
    current: BatchItem | None = None
    pace, said = Pace(0, 0.0), 0.0
    try:
        for event in events:
            now = time.monotonic()
            if event.progress is not None:
                is_last = event.progress.frames_done == event.progress.frames_expected
                if event.item is not current:
                    current, pace, said = event.item, Pace(event.progress.frames_done, now), now
                    expected = event.progress.frames_expected
                    say("start", **_names(event.item), frames_expected=expected)
                elif now - said >= _LEAST_SECONDS_BETWEEN_LINES or is_last:
                    said = now
                    _say_progress(event.item, event.progress, pace.told(event.progress, now))
            if event.result is not None:
                results.append(event.result)
                _say_end(event.result)
    except KeyboardInterrupt as error:
        events.close()
        raise Interruption.of(error, kept_text(current.target if current is not None else None)) from error
    return results


def _names(item: BatchItem) -> dict[str, Any]:
    return {"source": str(item.source), "target": str(item.target)}


def _say_progress(item: BatchItem, progress: RestoreProgress, told: tuple[float, float, float | None]) -> None:
    seconds, rate, left = told
    say(
        "progress",
        source=str(item.source),
        frames_done=progress.frames_done,
        frames_expected=progress.frames_expected,
        seconds=round(seconds, 3),
        frames_per_second=round(rate, 4),
        seconds_left=None if left is None else round(left, 1),
    )


def _say_end(result: BatchResult) -> None:
    fields = _names(result.item)
    if result.report is not None:
        report = result.report
        fields |= {
            "frames": report.frames,
            "seconds": round(report.seconds, 3),
            "warnings": list(report.warnings),
            "verified": None if report.verification is None else not report.verification.differences,
        }
    elif result.error is not None:
        differences = result.verification.differences if result.verification is not None else ()
        fields |= {
            "error": explain(result.error)[0],
            "exit_code": result.error.exit_code,
            "differences": [asdict(row) for row in differences],
        }
    else:
        fields["reason"] = result.item.skip_reason
    say("end", state=result.state, **fields)
