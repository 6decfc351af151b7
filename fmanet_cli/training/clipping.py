"""Gradients measured against those of the last steps: long ones are shortened, far too long ones left out."""

from __future__ import annotations

import torch
from torch import Tensor

WATCHED_NORMS = 100
KNOWN_NORMS = 20
"""Norms that have to be known before any gradient is judged by them."""

LONGEST = 3.0
"""Gradients are shortened to this many times the median norm."""

BROKEN = 8.0
"""Gradients longer than this many times the median norm are left out."""


class RunningClip:
    """The median norm of the last gradients. Everything stays in tensors, so that a GPU never waits for an answer."""

    def __init__(self, device: torch.device | str) -> None:
        self.norms = torch.full((WATCHED_NORMS,), torch.nan, device=device)
        """(WATCHED_NORMS,) the last finite norms, the newest at the end; not a number where there were fewer."""

    def judge(self, norm: Tensor) -> tuple[Tensor, Tensor]:
        """Take the newest norm, a scalar tensor.

        Returns:
            The factor for the gradients and whether they are to be left out (1.0 or 0.0), both scalar tensors. Norms
            that are left out for their length count for the median too: a lasting change is followed.
        """
        known = self.norms.isfinite().sum()
        # Not a number is sorted to the end. `nanmedian` would wait for the count.
        middle = self.norms.sort().values.gather(0, ((known - 1) // 2).clamp(min=0)[None])[0]
        median = torch.where(known >= KNOWN_NORMS, middle, torch.inf)
        finite = norm.isfinite()
        self.norms.copy_(torch.where(finite, torch.cat((self.norms[1:], norm[None])), self.norms))
        factor = torch.where(finite, (LONGEST * median / norm).clamp(max=1.0), 1.0)
        return factor, (~finite | (norm > BROKEN * median)).to(norm.dtype)
