"""Where the timestamps of a file start again or jump ahead by hours, and how they go on: one rule for all streams."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

LONGEST_GAP_SECONDS = 6 * 3600
"""A longer pause between two frames is a clock that was set anew, as of recorders that count 32 bits of milliseconds.
MP4 at 90,000 ticks a second cannot hold more than 6.6 hours between two frames."""

_USUAL_STEP_SECONDS = Fraction(1, 25)
_LARGEST_GAP_TICKS = (1 << 31) - 1
_STEPS_BACK = 2
_SAME_PLACE_SECONDS = 10
_SAME_JUMP_SECONDS = Fraction(1, 2)


@dataclass(frozen=True, slots=True)
class Restart:
    """A place where times do not go on from the ones before."""

    before_seconds: Fraction
    """The last time before it, in the file's own time."""
    after_seconds: Fraction
    """The first time after it, in the file's own time."""
    shift_seconds: Fraction
    """What is added to every time after it, beside the shifts of earlier restarts."""


def is_restart(before: int, after: int, *, step: int, time_base: Fraction) -> bool:
    """Whether a time after another one belongs to a clock that was set anew.

    Frames out of order step back by one or two frames; what goes further back started again.

    Args:
        before: a timestamp of a stream, in ticks.
        after: the following one.
        step: the usual distance of two, in ticks.
        time_base: seconds per tick.
    """
    ahead = after - before
    return -ahead > _STEPS_BACK * step or ahead > _LARGEST_GAP_TICKS or ahead * time_base > LONGEST_GAP_SECONDS


def usual_step(duration: int | None, time_base: Fraction) -> int:
    """The distance of two packets in ticks, from what one says of its duration."""
    return duration or max(1, round(_USUAL_STEP_SECONDS / time_base))


class RestartLog:
    """The restarts that the main video has met, for the streams that are copied beside it."""

    def __init__(self) -> None:
        self.restarts: list[Restart] = []
        """In the order of the file."""

    def shift_at(
        self, before_seconds: Fraction, after_seconds: Fraction, *, first: int = 0
    ) -> tuple[Fraction, int] | None:
        """The shift of the video's restart at the same place of the file, so that all streams stay together.

        Args:
            before_seconds: last time of a stream before its own restart, in the file's time.
            after_seconds: first time after it.
            first: number of the first restart that may be meant; those of a stream come in order.

        Returns:
            The shift, and the number of the restart that may be meant next; None where the video has none there.
        """
        for number, restart in enumerate(self.restarts[first:], first):
            jump = restart.before_seconds - restart.after_seconds
            is_near = abs(before_seconds - restart.before_seconds) < _SAME_PLACE_SECONDS
            if is_near and abs(before_seconds - after_seconds - jump) < _SAME_JUMP_SECONDS:
                return restart.shift_seconds, number + 1
        return None
