"""Timestamps of frames and packets held against each other, exactly where the container can hold them exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from fmanet_cli.verify.result import Verdict, VerificationRow, row, seconds_text
from fmanet_cli.video.read.timeline import Timeline
from fmanet_cli.video.write.containers import Container


@dataclass(frozen=True, slots=True)
class Ticks:
    """Timestamps in one time base."""

    pts: Sequence[int]
    """In ticks."""
    time_base: Fraction
    """Seconds per tick."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A timestamp that is not where it should be."""

    number: int
    """Position among the timestamps, from 0."""
    expected_seconds: Fraction
    """Where it should be."""
    found_seconds: Fraction
    """Where it is."""


def mismatches(source: Ticks, output: Ticks, shift_seconds: Fraction) -> Iterator[Mismatch]:
    """Pairs of timestamps that differ; both sides have as many.

    A time that is a whole number of the output's ticks has to be met exactly, any other to one tick. So Matroska, which
    counts milliseconds, and MPEG-TS, which counts 1/90000 s, are allowed what they force and nothing more.
    """
    unit = math.lcm(source.time_base.denominator, output.time_base.denominator, shift_seconds.denominator)
    scale, tick = int(source.time_base * unit), int(output.time_base * unit)
    shift = int(shift_seconds * unit)
    for number, (before, after) in enumerate(zip(source.pts, output.pts, strict=True)):
        expected, found = before * scale + shift, after * tick
        if expected != found and (expected % tick == 0 or abs(expected - found) > tick):
            yield Mismatch(number, Fraction(expected, unit), Fraction(found, unit))


def agrees(expected_seconds: Fraction, found_seconds: Fraction, tick: Fraction) -> bool:
    """Whether one time is as exact as its container allows."""
    if (expected_seconds / tick).denominator == 1:
        return expected_seconds == found_seconds
    return abs(expected_seconds - found_seconds) <= tick


def timeline_rows(
    source: Timeline, output: Timeline, container: Container, *, shift_seconds: Fraction
) -> list[VerificationRow]:
    """Rows on the frame count, every timestamp, the last frame's duration and the duration of the video."""
    count = row("frames", len(source.pts), len(output.pts))
    if not container.has_timestamps:
        return [count, _constant_rate_row(source, output)]
    duration_verdict = Verdict.DIFFERS if container.holds_last_duration else Verdict.LOST
    last = [timeline.last_duration * timeline.time_base for timeline in (source, output)]
    whole = [timeline.duration_seconds for timeline in (source, output)]
    return [
        count,
        _timestamps_row(source, output, shift_seconds),
        _close_row("last frame duration", *last, tick=output.time_base, otherwise=duration_verdict),
        _close_row("duration", *whole, tick=output.time_base, otherwise=duration_verdict),
    ]


def start_row(
    source: Timeline, output: Timeline, *, promised_shift: Fraction | None, free_reason: str
) -> tuple[VerificationRow, Fraction]:
    """The row on the first timestamp, and by how much every stream has to be moved like the video.

    promised_shift: what the writer says; None = nothing. free_reason: why any shift is right; empty = none is.
    """
    promised = promised_shift or Fraction(0)
    expected, found = source.first_seconds + promised, output.first_seconds
    texts = seconds_text(source.first_seconds), seconds_text(found)
    if agrees(expected, found, output.time_base):
        verdict = Verdict.CONVERTED if promised else Verdict.SAME
        reason = " (all streams are moved)" if promised else ""
        return VerificationRow("start", texts[0], texts[1] + reason, verdict), promised
    shift = found - source.first_seconds
    if free_reason:
        return VerificationRow("start", texts[0], f"{texts[1]} ({free_reason})", Verdict.CONVERTED), shift
    return VerificationRow("start", seconds_text(expected), texts[1], Verdict.DIFFERS), shift


def _timestamps_row(source: Timeline, output: Timeline, shift: Fraction) -> VerificationRow:
    what, kept = "timestamps", f"{len(source.pts)} at {seconds_text(source.first_seconds)} and on"
    before, after = Ticks(source.pts, source.time_base), Ticks(output.pts, output.time_base)
    if len(source.pts) != len(output.pts):
        missing = _first_missing(before, after, shift)
        return VerificationRow(what, kept, f"{len(output.pts)}, {missing}", Verdict.DIFFERS)
    wrong = list(mismatches(before, after, shift))
    if not wrong:
        return VerificationRow(what, kept, "all", Verdict.SAME)
    first = wrong[0]
    text = (
        f"{len(wrong)} wrong: frame {first.number} of {seconds_text(first.expected_seconds)} "
        f"at {seconds_text(first.found_seconds)}"
    )
    return VerificationRow(what, kept, text, Verdict.DIFFERS)


def _first_missing(source: Ticks, output: Ticks, shift: Fraction) -> str:
    """Where the two first part, in words."""
    length = min(len(source.pts), len(output.pts))
    same = next(
        mismatches(Ticks(source.pts[:length], source.time_base), Ticks(output.pts[:length], output.time_base), shift),
        None,
    )
    number = length if same is None else same.number
    if number == len(source.pts):
        return f"one too many after frame {number - 1}"
    return f"frame {number} of {seconds_text(source.pts[number] * source.time_base)} is missing"


def _close_row(
    what: str, expected: Fraction, found: Fraction, *, tick: Fraction, otherwise: Verdict
) -> VerificationRow:
    verdict = Verdict.SAME if agrees(expected, found, tick) else otherwise
    return VerificationRow(what, seconds_text(expected), seconds_text(found), verdict)


def _constant_rate_row(source: Timeline, output: Timeline) -> VerificationRow:
    """Frames at a constant rate are right when none is off by more than half of one."""
    pairs = zip(source.pts, output.pts, strict=False)
    drifts = [
        abs((before - source.pts[0]) * source.time_base - (after - output.pts[0]) * output.time_base)
        for before, after in pairs
    ]
    largest, period = max(drifts, default=Fraction(0)), output.time_base
    text = f"at a constant rate, up to {seconds_text(largest)} off"
    return VerificationRow(
        "timestamps", f"{len(source.pts)}", text, Verdict.SAME if largest <= period / 2 else Verdict.LOST
    )
