"""What the steps of a first contact found, in lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fmanet_cli.bench.first_contact.plan import Step

_LONGEST_VALUE = 100


@dataclass(frozen=True, slots=True)
class StepFindings:
    """One step, ended somehow."""

    step: Step
    """Which one."""
    seconds: float
    """From the start of its process to its end."""
    ended: str
    """Why it did not end well; empty where it did."""
    found: Mapping[str, Any]
    """What its file holds."""

    @property
    def error(self) -> str:
        """Why it found nothing at all; empty where it did."""
        return str(self.found.get("error", ""))

    @property
    def exit_code(self) -> int | None:
        """Of the error, where that is the user's to mend."""
        return self.found.get("exit_code")

    @property
    def parts(self) -> dict[str, dict[str, Any]]:
        """What each part found; one that was under way when the process ended was stopped."""
        parts = dict(self.found.get("parts", {}))
        return {name: part | {"state": "stopped"} if part["state"] == "begun" else part for name, part in parts.items()}

    @property
    def counts(self) -> dict[str, int]:
        """How many parts are in each state."""
        states = [part["state"] for part in self.parts.values()]
        return {state: states.count(state) for state in dict.fromkeys(states)}

    @property
    def is_well(self) -> bool:
        """Whether every part did what it should, or was left out for a reason."""
        return not self.ended and not self.error and set(self.counts) <= {"done", "left out"}

    def as_dict(self) -> dict[str, Any]:
        """For JSON; tracebacks stay in the step's own file."""
        parts = {name: {k: v for k, v in part.items() if k != "traceback"} for name, part in self.parts.items()}
        return {
            "step": self.step.name,
            "about": self.step.about,
            "device": self.found.get("device"),
            "seconds": round(self.seconds, 1),
            "is_well": self.is_well,
            "ended": self.ended,
            "error": self.error,
            "counts": self.counts,
            "parts": parts,
        }

    def headline(self) -> str:
        """The step in a line."""
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items())
        words = [word for word in (self.error, self.ended, counts) if word]
        mark = "ok     " if self.is_well else "look at"
        return f"{mark}  {self.step.name:<12} {self.seconds:5.1f} s  {'; '.join(words)}"


def summary_text(found: Sequence[StepFindings], missing: Sequence[str], seconds: float) -> str:
    """Everything in lines: each step, and below it each part with its figures."""
    lines = []
    for step in found:
        lines += [step.headline(), f"         {step.step.about}"]
        lines += [f"    {name}: {_part_text(part)}" for name, part in step.parts.items()]
    ended = f"{len(found)} steps in {seconds:.0f} s"
    lines.append(f"{ended}; not yet: {', '.join(missing)}" if missing else ended)
    return "\n".join(lines) + "\n"


def _part_text(part: Mapping[str, Any]) -> str:
    if "error" in part:
        return f"failed: {part['error']}"
    if "result" not in part:
        return str(part["state"])
    return f"{', '.join(_figures(part['result'])) or 'done'} ({part['seconds']:.1f} s)"


def _figures(result: Mapping[str, Any]) -> list[str]:
    """Numbers and short words of a part, without its lists."""
    found = []
    for name, value in result.items():
        if isinstance(value, Mapping):
            found += [f"{name}: {text}" for text in _figures(value)]
        elif isinstance(value, float):
            found.append(f"{name} {value:.4g}")
        elif isinstance(value, str) and value:
            text = " ".join(value.split())
            found.append(f"{name} {text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + '...'}")
        elif isinstance(value, int) and not isinstance(value, bool):
            found.append(f"{name} {value:,}")
        elif isinstance(value, bool):
            found.append(f"{name} {'yes' if value else 'no'}")
    return found
