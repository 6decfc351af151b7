"""Steps whose gradient cannot be used: left out, counted, and too many of them end a run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from torch import Tensor

from fmanet_cli.errors import TrainingError

WATCHED_STEPS = 100
BROKEN_STEPS_ALLOWED = 5
"""Steps of the last ``WATCHED_STEPS`` that may be left out. A fault that strikes only some kinds of steps never breaks
many in a row, so it is their share that counts."""

_NAMES_SHOWN = 4


class BrokenSteps:
    """Counts the steps of a stage that were left out."""

    def __init__(self) -> None:
        self._last: deque[tuple[int, bool]] = deque(maxlen=WATCHED_STEPS)

    def count(self, step: int, *, broken: bool, parameters: Sequence[str] = ()) -> None:
        """Note step number ``step`` (from 1). ``parameters``: those whose gradient is not finite, if it is broken.

        Raises ``TrainingError`` when more than ``BROKEN_STEPS_ALLOWED`` of the last ``WATCHED_STEPS`` were broken.
        """
        self._last.append((step, broken))
        left_out = [number for number, was_broken in self._last if was_broken]
        if len(left_out) > BROKEN_STEPS_ALLOWED:
            raise TrainingError(
                f"{len(left_out)} of the last {len(self._last)} steps had no finite gradient, the first of them step "
                f"{left_out[0]} ({_list(parameters)}); the last good checkpoint stays: train on from it with a lower "
                "learning rate, and without compiling where the step was compiled"
            )

    @property
    def last_was_broken(self) -> bool:
        """Whether the newest step was left out."""
        return bool(self._last) and self._last[-1][1]


def not_finite(gradients: Iterable[tuple[str, Tensor | None]]) -> list[str]:
    """The names whose gradient holds a value that is not finite."""
    return [name for name, gradient in gradients if gradient is not None and not bool(gradient.isfinite().all())]


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
