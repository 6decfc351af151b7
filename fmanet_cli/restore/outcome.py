"""What a run says of itself: how far it is, and in the end what it did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from fmanet_cli.engine.tiling import Tiling
from fmanet_cli.verify.result import VerificationResult


@dataclass(frozen=True, slots=True)
class RestoreProgress:
    """How far a run is."""

    frames_done: int
    """Frames restored so far."""
    frames_expected: int | None
    """Estimate of all frames; None = unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport:
    """What a finished run did."""

    source: str
    """Path of the input."""
    target: str
    """Path of the output."""
    frames: int
    """Frames read and written."""
    frames_resumed: int = 0
    """Of these, how many an interrupted run had left."""
    shots: int | None
    """Shots that were restored apart; None = not looked for."""
    source_size: tuple[int, int]
    """(width, height) in pixels."""
    target_size: tuple[int, int]
    """(width, height) in pixels."""
    seconds: float
    """Wall time from opening the input to the finished file."""
    stage_seconds: dict[str, float] = field(default_factory=dict)
    """Wall time in each stage by its name, and in waiting for another one; they run side by side. Those of workers
    are not among them."""
    model: str
    """Name or path of the weights, empty if the caller did not say."""
    device: str
    """Where the network ran."""
    precision: str
    """`fp32`, `fp16` or `bf16`, at the end of the run."""
    tiling: Tiling
    """How frames were cut at the end of the run."""
    strength: float = 1.0
    """Share of the network's result in each frame."""
    source_look: str = "plain"
    """`camera` = the network saw the frames softened."""
    warnings: tuple[str, ...]
    """What was lost, guessed or changed on the way."""
    verification: VerificationResult | None = None
    """How the output stands to the source; None where that was not asked for or the output was a pipe."""

    @property
    def frames_per_second(self) -> float:
        """Frames of this run over its whole time."""
        return (self.frames - self.frames_resumed) / self.seconds if self.seconds > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        verification = self.verification.as_dict() if self.verification is not None else None
        return {**asdict(self), "frames_per_second": self.frames_per_second, "verification": verification}
