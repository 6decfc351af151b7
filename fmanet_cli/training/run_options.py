"""What differs between two runs of one recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What differs between two runs of one recipe."""

    folder: Path
    """Where the run writes its weights, state and logs."""
    seed: int = 0
    """Seed of weights and windows."""
    stages: tuple[int, ...] = (1, 2)
    """Stages to run."""
    minutes: float | None = None
    """Time limit of the run, divided among its stages by their steps; the schedules then follow the clock."""
    pause_after: float | None = None
    """Minutes after which the run saves and ends, schedules untouched, to be resumed later."""
    save_every: int = 200
    """Steps between two checkpoints."""
    validate_every: int = 500
    """Steps between two validations."""
    half_precision: bool = True
    """Compute in bfloat16 where that is safe."""
    compiled: bool = False
    """Compile the step with torch.compile, used only if its gradients are those of the plain step; on CUDA it is then
    recorded as graphs."""
    prefetched_batches: int = 4
    """Batches made ahead by a background process; 0 makes them in the loop."""
    loaders: int = 1
    """Background processes that make batches."""
    licence: str = "MIT"
    """Licence written into the weights."""
    source: str = "fmanet train"
    """Origin written into the weights."""

    def __post_init__(self) -> None:
        if self.loaders < 1:
            raise ValueError(f"loaders must be at least 1, got {self.loaders}")
        for name in ("minutes", "pause_after"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
