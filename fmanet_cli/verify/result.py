"""What a verification says: one row for each thing compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

_ROWS_SHOWN = 3


class Verdict(StrEnum):
    """How one thing of an output stands to its source."""

    SAME = "same"
    """Kept."""
    DIFFERS = "differs"
    """Not what was promised."""
    LOST = "not kept by the container"
    """The container or codec cannot hold it: a loss that was to be expected."""
    CONVERTED = "converted"
    """Changed on purpose, as requested or as the writer said."""


@dataclass(frozen=True, slots=True)
class VerificationRow:
    """One thing compared."""

    what: str
    """Its name, such as `timestamps` or `audio stream 1 language`."""
    source: str
    """What the source has or promises."""
    output: str
    """What was found."""
    verdict: Verdict
    """How the two stand to each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationResult:
    """Everything that was compared between a source and its restored copy."""

    source: str
    """Path of the source."""
    output: str
    """Path of the output."""
    rows: tuple[VerificationRow, ...]
    """In a fixed order."""
    notes: tuple[str, ...] = ()
    """What could not be compared, and why."""
    source_times: str = ""
    """Where the source's timestamps come from: `packets`, `decoded` or `run`."""
    output_times: str = ""
    """Where the output's timestamps come from: `packets` or `decoded`."""
    seconds: float = 0.0
    """Wall time of the comparison."""

    @property
    def differences(self) -> tuple[VerificationRow, ...]:
        """Rows that are not what was promised."""
        return tuple(row for row in self.rows if row.verdict is Verdict.DIFFERS)

    @property
    def losses(self) -> tuple[VerificationRow, ...]:
        """Rows that the container cannot hold."""
        return tuple(row for row in self.rows if row.verdict is Verdict.LOST)

    def failures(self, *, strict: bool) -> tuple[VerificationRow, ...]:
        """Rows that make an output unfit; `strict` counts expected losses too."""
        return self.differences + (self.losses if strict else ())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "ok": not self.differences}


def summary(rows: tuple[VerificationRow, ...]) -> str:
    """The first of some rows in one line."""
    texts = [f"{row.what} {row.source} became {row.output}" for row in rows[:_ROWS_SHOWN]]
    more = f" and {len(rows) - _ROWS_SHOWN} more" if len(rows) > _ROWS_SHOWN else ""
    return "; ".join(texts) + more


def row(what: str, source: object, output: object, *, otherwise: Verdict = Verdict.DIFFERS) -> VerificationRow:
    """A row whose verdict is `same` when both sides are equal, else `otherwise`."""
    return VerificationRow(what, str(source), str(output), Verdict.SAME if source == output else otherwise)


def seconds_text(seconds: Fraction | float) -> str:
    """Seconds to the microsecond, without empty digits beyond the millisecond."""
    text = f"{float(seconds):.6f}"
    return f"{text[:-3] if text.endswith('000') else text} s"
