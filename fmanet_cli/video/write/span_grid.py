"""Where the spans of a film begin: told by its frames alone, so that all who share the film agree."""

from __future__ import annotations

from itertools import pairwise


class SpanGrid:
    """Cuts a film into spans while its frames pass.

    A span ends before a new shot once it has half of the frames that it may have, and otherwise when it has them all.
    A segment begins with a key frame, which costs nothing at a cut: encoders place one there by themselves. With at
    most 120 frames and cuts at frames 30, 70 and 400, spans begin at 0, 70, 190, 310 and 400.
    """

    def __init__(self, most_frames: int) -> None:
        """most_frames: of a span."""
        self._most, self._least = most_frames, (most_frames + 1) // 2
        self._begin = 0
        self._begins: set[int] = set()
        self.frames_passed = 0
        """Frames seen so far."""

    def add(self, *, starts_shot: bool) -> bool:
        """Take the next frame; say whether a span begins with it. The first span begins with the first frame."""
        number = self.frames_passed
        length = number - self._begin
        begins = not number or length >= self._most or (starts_shot and length >= self._least)
        if begins:
            self._begin = number
            self._begins.add(number)
        self.frames_passed += 1
        return begins

    def spans(self) -> list[tuple[int, int]]:
        """First frame and end of every span of the frames that have passed."""
        begins = [*sorted(self._begins), self.frames_passed]
        return list(pairwise(begins))

    def begins(self, number: int) -> bool:
        """Whether a span begins with a frame that has passed."""
        return number in self._begins
