"""`fmanet batch --dry-run`: what each video will take, and all of them together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fmanet_cli.cli.faults import explain
from fmanet_cli.cli.sight import clock_text
from fmanet_cli.cli.terminal import echo, frames_text, is_or_are
from fmanet_cli.files import bytes_text

if TYPE_CHECKING:
    from fmanet_cli.restore.survey import BatchPlan, PlannedFilm


def print_plan(plan: BatchPlan, output: Path) -> None:
    """One row for each video and a summary, on standard output."""
    from fmanet_cli.cli.console import FilmTable

    table = FilmTable(frames=6, size=9, shots=5, time=12, disk=7)
    for film in plan.films:
        table.add(*_row(film))
    table.print()
    for line in _summary(plan, output):
        echo(line)


def _row(film: PlannedFilm) -> tuple[str, ...]:
    found = film.estimate
    if found is None:
        remark = explain(film.error)[0] if film.error is not None else f"skipped: {film.item.skip_reason}"
        return str(film.item.source), "", "", "", "", "", remark
    (width, height), (new_width, new_height) = found.source_size, found.output_size
    remarks = [f"{frames_text(kept)} {is_or_are(kept)} done already"] if (kept := found.frames_kept) else []
    if found.memory_free is not None and (found.memory_bytes or 0) > found.memory_free:
        remarks.append(f"memory: {bytes_text(found.memory_bytes)} for whole frames, so tiles")
    shots = "" if film.shots is None else f"{'' if film.shots[1] == 'measured' else 'about '}{film.shots[0]}"
    return (
        str(film.item.source),
        "unknown" if found.frames is None else str(found.frames),
        f"{width}x{height} to {new_width}x{new_height}",
        shots,
        "unknown" if found.seconds is None else f"{clock_text(found.seconds)} {found.how}",
        bytes_text(found.disk_bytes),
        "; ".join([*remarks, *found.losses]),
    )


def _summary(plan: BatchPlan, output: Path) -> list[str]:
    skipped = sum(bool(film.item.skip_reason) for film in plan.films)
    failed = sum(film.error is not None for film in plan.films)
    counts = {"to restore": len(plan.estimates), "skipped": skipped, "that cannot be restored": failed}
    lines = [f"{', '.join(f'{count} {what}' for what, count in counts.items() if count)}; {frames_text(plan.frames)}"]
    if plan.estimates:
        lines.append(f"time: about {clock_text(plan.seconds)}, {plan.how}")
        lines.append(
            f"disk: about {bytes_text(plan.disk_bytes)} needed, {bytes_text(plan.disk_free)} free for {output}"
        )
    return lines
