"""When decoded frames are shown: guessed where the container does not say it, and rising where it goes back."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import Any

import av

from fmanet_cli.video.read.faults import FaultLog
from fmanet_cli.video.read.restarts import Restart, RestartLog, is_restart

_MOST_UNTIMED = 16
"""Frames that wait for a first timestamp: as many as a decoder holds back at most."""


def lacks_presentation_times(stream: Any) -> bool:
    """Whether a stream's container holds only the order of decoding, as AVI does, and Matroska for a codec out of AVI.

    What libavformat says there of the time of presentation is a guess that is wrong for frames in another order.
    """
    formats = stream.container.format.name.split(",")
    context = stream.codec_context
    is_from_avi = "matroska" in formats and context is not None and _tag_number(context.codec_tag) != 0
    return "avi" in formats or is_from_avi


def _tag_number(tag: str | int) -> int:
    return tag if isinstance(tag, int) else int(any(character != "\0" for character in tag))


class PresentationGuess:
    """Sets the timestamp of each frame as FFmpeg's best effort does.

    A frame comes out of the decoder with its own time (pts) and with the time of decoding (dts) of the packet that
    brought it out. Both should rise. The one that went back less often is believed.
    """

    def __init__(self, *, trusts_pts: bool):
        """trusts_pts: False where the container holds no presentation times."""
        self._trusts_pts = trusts_pts
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._faulty_pts = self._faulty_dts = 0
        self._had_dts = False

    def settle(self, frame: av.VideoFrame) -> None:
        """Change `frame.pts`; None where nothing is known, as at the end of an AVI file with reordered frames."""
        pts, dts = frame.pts if self._trusts_pts else None, frame.dts
        if dts is not None:
            self._faulty_dts += self._last_dts is not None and dts <= self._last_dts
            self._last_dts, self._had_dts = dts, True
        elif pts is not None:
            self._last_dts = pts
        if pts is not None:
            self._faulty_pts += self._last_pts is not None and pts <= self._last_pts
            self._last_pts = pts
        elif dts is not None:
            self._last_pts = dts
        is_trusted = self._faulty_pts <= self._faulty_dts or (dts is None and not self._had_dts)
        frame.pts = pts if pts is not None and is_trusted else dts


class FrameClock:
    """Gives frames times that rise: restarts are continued, single frames out of order are put between the others."""

    def __init__(self, *, time_base: Fraction, frame_rate: Fraction, faults: FaultLog, restarts: RestartLog):
        self._base = time_base
        self._step = max(1, round(1 / frame_rate / time_base))
        # Most frames follow at such a distance, which never is a restart.
        self._usual = 2 * self._step
        if is_restart(0, self._usual, step=self._step, time_base=time_base):
            self._usual = 0
        self._faults = faults
        self._log = restarts
        self._shift = self._number = 0
        self._last: int | None = None
        self._last_own: int | None = None
        self._gap = self._step

    def begun(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """The same frames; those without a time at the beginning are counted back from the first that has one.

        A cut Matroska file has such frames, as it cannot say times before 0.
        """
        first: list[av.VideoFrame] = []
        for frame in frames:
            first.append(frame)
            if frame.pts is not None or len(first) > _MOST_UNTIMED:
                break
        if first and (time := first[-1].pts) is not None:
            for back, earlier in enumerate(reversed(first)):
                earlier.pts = time - back * self._step
        return chain(_emptied(first), frames)

    def time_of(self, own: int | None) -> int:
        """The time in ticks of the next frame, which has the time `own`; None = none."""
        number, before = self._number, self._last_own
        self._number, self._last_own = number + 1, own
        if own is None or self._last is None:
            pts = (0 if self._last is None else self._last + self._step) if own is None else own
        else:
            if before is not None and abs(own - before) > self._usual:
                self._note_restart(before, own, number)
            pts = own + self._shift
            if pts <= self._last:
                behind = (self._last - pts) * self._base
                text = f"frame {number} has a timestamp that goes back by {float(behind):.3f} s"
                self._faults.note(text, kind="timestamp that goes back")
                pts = self._last + max(1, self._step // 2)
        if self._last is not None and pts - self._last <= 2 * self._step:
            self._gap = pts - self._last
        self._last = pts
        return pts

    def _note_restart(self, before: int, own: int, number: int) -> None:
        if self._is_return(before, own):
            self._shift -= round(self._log.restarts.pop().shift_seconds / self._base)
            return
        if not is_restart(before, own, step=self._step, time_base=self._base):
            return
        assert self._last is not None
        shift = self._last + self._gap - own - self._shift
        self._log.restarts.append(Restart(before * self._base, own * self._base, shift * self._base))
        self._shift += shift
        seconds = abs(own - before) * self._base
        text = f"goes back by {float(seconds):.3f} s" if own < before else f"jumps ahead by {float(seconds):.0f} s"
        self._faults.note(
            f"frame {number} has a timestamp that {text}; the times after it are continued", kind="restart"
        )

    def _is_return(self, before: int, own: int) -> bool:
        """Whether a jump takes the last one back: only some frames were out of place, as after damage."""
        if not self._log.restarts or not self._shift:
            return False
        back = round(self._log.restarts[-1].shift_seconds / self._base)
        return abs(own - before - back) <= 2 * self._step < abs(own - before)


def _emptied(frames: list[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Each frame once; none is kept."""
    while frames:
        yield frames.pop(0)
