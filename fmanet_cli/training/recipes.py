"""Recipes: everything that decides what a training run does, kept as data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from fmanet_cli.errors import OptionError
from fmanet_cli.model.config import BASE, LITE, PAPER, FMANetConfig
from fmanet_cli.training.losses import LossWeights

Schedule = Literal["halving", "cosine", "constant"]
Optimizer = Literal["adam", "muon"]

HALVED_AT = (0.70, 0.85, 0.95)
"""Shares of a stage after which the paper halves its learning rate (section 4)."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the two training stages: 1 trains Net^D alone (paper Eq. 8), 2 trains both networks (Eq. 9)."""

    number: Literal[1, 2]
    steps: int
    """Optimiser steps."""
    learning_rate: float
    """Highest learning rate."""
    schedule: Schedule
    """`halving` at 70, 85 and 95 % of the stage, `cosine` down to a hundredth, or `constant`."""
    warm_up_steps: int = 0
    """Steps of linear growth from zero to the highest learning rate."""
    decay_from: float = 1.0
    """Share of the stage from which a `constant` rate falls to zero, as 1 - sqrt of the share of the rest."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.warm_up_steps < 0 or not self.learning_rate > 0:
            raise ValueError(
                f"a stage needs steps and a learning rate above zero, got {self.steps} and {self.learning_rate}"
            )
        if not 0.0 <= self.decay_from <= 1.0:
            raise ValueError(f"decay_from must be a share of the stage, 0 to 1, got {self.decay_from}")

    def learning_rate_at(self, step: int, progress: float) -> float:
        """The learning rate of `step` (from 0) at `progress` (0 to 1) through the stage."""
        warm = min((step + 1) / self.warm_up_steps, 1.0) if self.warm_up_steps else 1.0
        if self.schedule == "halving":
            return warm * self.learning_rate * 0.5 ** sum(progress >= share for share in HALVED_AT)
        if self.schedule == "constant":
            rest = 1.0 - self.decay_from
            decayed = (min(progress, 1.0) - self.decay_from) / rest if rest else 0.0
            return warm * self.learning_rate * (1.0 - math.sqrt(max(decayed, 0.0)))
        return warm * self.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0))))


@dataclass(frozen=True, slots=True)
class Recipe:
    """A network and the way to train it."""

    name: str
    config: FMANetConfig
    stages: tuple[Stage, ...]
    window_pixels: int
    """Side of the square low-resolution windows."""
    batch_windows: int
    """Windows in a batch."""
    weights: LossWeights = field(default_factory=LossWeights)
    """Factors of the losses."""
    optimizer: Optimizer = "adam"
    """`muon` steps through the matrices by Muon and through the rest by Adam."""
    reconstruction_every: int = 1
    """Stage 2 rebuilds the blurry frame and warps the sharp ones, the dearest terms of Eq. 8, in every n-th step."""
    window_uses: int = 1
    """How often a window is shown, each time in another orientation, where windows are made on a CPU."""
    weight_decay: float = 0.0
    """Share of the learning rate by which each step shrinks Muon's matrices, without which they grow for ever."""
    ema_decays: tuple[float, ...] = (0.999, 0.9998)
    """Shares of the averaged weights that one step of eight windows keeps, for each average; the quick one first."""

    def __post_init__(self) -> None:
        if not self.ema_decays or not all(0.0 <= decay < 1.0 for decay in self.ema_decays):
            raise ValueError(f"ema_decays must be shares below 1, got {self.ema_decays}")


PAPER_RECIPE = Recipe(
    name="paper",
    config=PAPER,
    stages=(
        Stage(number=1, steps=300_000, learning_rate=2e-4, schedule="halving"),
        Stage(number=2, steps=300_000, learning_rate=2e-4, schedule="halving"),
    ),
    window_pixels=64,
    batch_windows=8,
)

LITE_RECIPE = Recipe(
    name="lite",
    config=LITE,
    stages=(
        Stage(number=1, steps=1_000, learning_rate=1.5e-3, schedule="cosine", warm_up_steps=100),
        Stage(number=2, steps=12_000, learning_rate=1.5e-3, schedule="cosine", warm_up_steps=100),
    ),
    window_pixels=32,
    batch_windows=8,
    weights=LossWeights(flow=0.01),
    optimizer="muon",
    weight_decay=0.02,
    reconstruction_every=4,
    window_uses=4,
)

BASE_RECIPE = replace(
    LITE_RECIPE,
    name="base",
    config=BASE,
    stages=(
        Stage(number=1, steps=1_000, learning_rate=1.5e-3, schedule="cosine", warm_up_steps=100),
        # A network widened from lite is as good as lite from its first step; it needs a gentle start, no stage 1.
        Stage(number=2, steps=60_000, learning_rate=1.5e-3, schedule="constant", warm_up_steps=300, decay_from=0.82),
    ),
)

RECIPES = {recipe.name: recipe for recipe in (PAPER_RECIPE, LITE_RECIPE, BASE_RECIPE)}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises `OptionError` for another name."""
    if name not in RECIPES:
        raise OptionError(f"there is no recipe {name!r}; choose from {', '.join(RECIPES)}")
    return RECIPES[name]
