"""What is seen while videos are restored: a bar for the film and one for all of them, or a line a minute."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmanet_cli.cli.terminal import echo, make_bar

if TYPE_CHECKING:
    from fmanet_cli.restore.inputs import BatchItem
    from fmanet_cli.restore.outcome import RestoreProgress
    from fmanet_cli.restore.survey import Look

SECONDS_BETWEEN_LINES = 60.0
"""Where nobody watches a bar."""

_WHOLE_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} frames{postfix}"


@dataclass(slots=True)
class Whole:
    """How far a batch is; frames count by their pixels, and only what was computed now tells how fast it goes."""

    looks: Mapping[Path, Look]
    """What is known of each video, by its target; a video that is not in it counts nothing."""
    frames: int = 0
    """Frames that are behind: done, done before, skipped or failed."""
    _passed: float = 0.0
    _computed: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _first: int | None = None
    _now: tuple[int, float] = (0, 0.0)

    @property
    def frames_expected(self) -> int:
        """Of all videos."""
        return sum(found.frames or 0 for found in self.looks.values())

    @property
    def frames_behind(self) -> int:
        """With those of the current video."""
        return self.frames + self._now[0]

    def progress(self, item: BatchItem, progress: RestoreProgress) -> None:
        """Note a frame of the current video."""
        if (found := self.looks.get(item.target)) is None:
            return
        if self._first is None:
            self._first = progress.frames_done
        self._now = progress.frames_done, (progress.frames_done - self._first) * found.pixels

    def ended(self, item: BatchItem) -> None:
        """Note the end of a video, however it ended."""
        if (found := self.looks.get(item.target)) is not None:
            self.frames += found.frames or 0
            self._passed += (found.frames or 0) * found.pixels
        self._computed += self._now[1]
        self._first, self._now = None, (0, 0.0)

    def seconds_left(self, item: BatchItem) -> float | None:
        """For all videos, as fast as it went so far; None before anything was computed."""
        computed = self._computed + self._now[1]
        if not computed:
            return None
        total = sum((found.frames or 0) * found.pixels for found in self.looks.values())
        found = self.looks.get(item.target)
        behind = self._passed + (self._now[0] * found.pixels if found is not None else 0)
        return max(0.0, total - behind) * (time.monotonic() - self._began) / computed


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one video is restored."""

    first: int
    """Frames that were there when it was begun, which say nothing of it."""
    began: float
    """When that was."""

    def told(self, progress: RestoreProgress, now: float) -> tuple[float, float, float | None]:
        """Seconds since it was begun, frames a second, and the seconds that are left; None = that is not known."""
        seconds = now - self.began
        rate = (progress.frames_done - self.first) / seconds if seconds > 0 else 0.0
        if not rate or progress.frames_expected is None:
            return seconds, rate, None
        return seconds, rate, max(0, progress.frames_expected - progress.frames_done) / rate


class Sight:
    """Shows the current film and, where there are several, all of them."""

    def __init__(self, *, quiet: bool, bars: bool, count: int | None, whole: Whole | None = None) -> None:
        """count: of all videos; None = nobody knows how many will come. whole: how far all of them are."""
        self._hidden: bool | None = quiet or not bars or None
        self._count, self._whole = count, whole
        self._bar: Any = None
        self._whole_bar: Any = None
        self._pace = Pace(0, 0.0)
        self._said = 0.0

    def progress(self, item: BatchItem, progress: RestoreProgress, *, number: int) -> None:
        """Show a frame of the current video, the `number`-th one."""
        name = item.source.name
        if self._whole is not None:
            self._whole.progress(item, progress)
        if self._bar is None:
            title = name if self._count == 1 else f"{number}{f'/{self._count}' if self._count else ''} {name}"
            self._begin(title, progress)
        self._bar.update(progress.frames_done - self._bar.n)
        self._show_whole(item)
        now = time.monotonic()
        is_seen = self._bar.disable is False or self._hidden
        if not is_seen and now - self._said >= SECONDS_BETWEEN_LINES:
            self._said = now
            echo(self._line(item, progress, now), err=True)

    def end(self, item: BatchItem) -> None:
        """Take away the bar of a film that has ended."""
        if self._whole is not None:
            self._whole.ended(item)
        self._close_film()

    def close(self) -> None:
        """Take away every bar."""
        self._close_film()
        if self._whole_bar is not None:
            self._whole_bar.close()
            self._whole_bar = None

    def _begin(self, title: str, progress: RestoreProgress) -> None:
        if self._whole is not None and self._whole_bar is None and self._count != 1:
            self._whole_bar = make_bar(
                total=self._whole.frames_expected,
                desc=f"all {self._count}",
                bar_format=_WHOLE_BAR,
                disable=self._hidden,
                position=0,
            )
        self._bar = make_bar(
            total=progress.frames_expected,
            initial=progress.frames_done,
            desc=title,
            unit="frame",
            disable=self._hidden,
            position=0 if self._whole_bar is None else 1,
            leave=self._whole_bar is None,
        )
        self._said = time.monotonic()
        self._pace = Pace(progress.frames_done, self._said)

    def _show_whole(self, item: BatchItem) -> None:
        if self._whole_bar is None or self._whole is None:
            return
        left = self._whole.seconds_left(item)
        self._whole_bar.set_postfix_str("" if left is None else f"{clock_text(left)} left", refresh=False)
        self._whole_bar.update(self._whole.frames_behind - self._whole_bar.n)

    def _close_film(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _line(self, item: BatchItem, progress: RestoreProgress, now: float) -> str:
        _, rate, own_left = self._pace.told(progress, now)
        of_all = "" if progress.frames_expected is None else f" of {progress.frames_expected}"
        text = f"{item.source.name}: {progress.frames_done}{of_all} frames, {rate:.2f} frames/s"
        text += "" if own_left is None else f", {clock_text(own_left)} left"
        left = None if self._whole is None or self._count == 1 else self._whole.seconds_left(item)
        if left is None or self._whole is None:
            return text
        return (
            f"{text}; all {self._count}: {self._whole.frames_behind} of {self._whole.frames_expected} frames, "
            f"{clock_text(left)} left"
        )


def clock_text(seconds: float) -> str:
    """`1:02:03`, or `2:03` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
