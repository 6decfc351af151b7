"""What one training step did."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fmanet_cli.training.validation import ValidationResult


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StepReport:
    """What one step did."""

    stage: int
    step: int
    """Steps done in this stage, this one included."""
    progress: float
    """Share of the stage that is done, 0 to 1."""
    seconds: float
    """Time spent in this stage."""
    learning_rate: float
    gradient_norm: float
    """Before clipping."""
    figures: Mapping[str, float]
    """The total loss, as `total`, and each of its terms that was computed, before its factor."""
    skipped: bool
    """Whether the step was left out because its gradient was not finite or far too long."""
    validations: tuple[ValidationResult, ...] = ()
    """Results of the averaged weights, in the order of the recipe's `ema_decays`, in the steps that validate."""
    notes: tuple[str, ...] = ()
    """What should be told, one line each."""

    @property
    def why_skipped(self) -> str:
        """Why the step was left out; empty where it was not."""
        if not self.skipped:
            return ""
        if not math.isfinite(self.gradient_norm):
            return "its gradient is not finite"
        return f"its gradient, {self.gradient_norm:.3g} long, is far longer than usual"

    @property
    def validation(self) -> ValidationResult | None:
        """The better one, whose weights are released."""
        return max(self.validations, key=lambda result: result.psnr, default=None)
