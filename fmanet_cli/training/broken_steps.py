"""Steps whose gradient cannot be used: left out, counted, and too many of them end a run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from fmanet_cli.errors import TrainingError

WATCHED_STEPS = 100
BROKEN_STEPS_ALLOWED = 5
"""Steps of the last `WATCHED_STEPS` that may be left out. A fault that strikes only some kinds of steps never breaks
many in a row, so it is their share that counts."""

_NAMES_SHOWN = 4


class BrokenSteps:
    """Counts the steps of a stage that were left out."""

    def __init__(self) -> None:
        self._last: deque[tuple[int, bool]] = deque(maxlen=WATCHED_STEPS)

    def count(self, step: int, *, broken: bool, unsound_parameters: Callable[[], Sequence[str]]) -> None:
        """Note step number `step` (from 1). `unsound_parameters` names those whose gradient was not finite.

        Raises `TrainingError` when more than `BROKEN_STEPS_ALLOWED` of the last `WATCHED_STEPS` were broken.
        """
        self._last.append((step, broken))
        left_out = [number for number, was_broken in self._last if was_broken]
        if len(left_out) > BROKEN_STEPS_ALLOWED:
            names = unsound_parameters()
            what = f"had no finite gradient ({_list(names)})" if names else "had a gradient far longer than usual"
            raise TrainingError(
                f"{len(left_out)} of the last {len(self._last)} steps {what}, the first of them step {left_out[0]}; "
                "the last good checkpoint stays: train on from it with a lower learning rate, and without compiling "
                "where the step was compiled"
            )

    @property
    def last_was_broken(self) -> bool:
        """Whether the newest step was left out."""
        return bool(self._last) and self._last[-1][1]


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
