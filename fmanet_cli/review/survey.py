"""A look over a film: blur, noise and blocks of frames all over it, and the moments that say most."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fmanet_cli.errors import OptionError, VideoReadError
from fmanet_cli.review.meters import ImageMeters, measure_image
from fmanet_cli.shots.detector import detect_cuts
from fmanet_cli.video.frames import Frame, VideoInfo
from fmanet_cli.video.read.reader import VideoReader

MOST_DECODED_PIXELS = 60_000_000
"""Up to here every frame is decoded: 1,000 frames of 320x180. Longer films are looked at in places."""

MOST_MEASURED_PIXELS = 12_000_000
"""About 200 frames of 320x180, or six of 1920x1080."""

PLACES = 12
"""Of a long film, evenly spread, each from a key frame on."""

IN_A_ROW = 3
"""Frames in each place."""


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """One frame of a survey."""

    seconds: float
    """When it is shown, from the start of the film."""
    shot: int
    """Frames with the same number belong to one shot."""
    meters: ImageMeters
    """What its image says."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look over a film found."""

    info: VideoInfo
    """Facts of the film."""
    frames: tuple[SeenFrame, ...]
    """Those that were measured, in order; none where frames are too small to be measured."""
    frame_count: int | None
    """Frames of the film where all were decoded; None = the film was looked at in places."""
    shots: int | None
    """Shots, known under the same condition."""

    @property
    def telling(self) -> list[SeenFrame]:
        """Frames with enough in them for their blur to mean something."""
        return [frame for frame in self.frames if frame.meters.tells_blur]


@dataclass(frozen=True, slots=True)
class Moment:
    """A time worth a look, and why."""

    seconds: float
    """From the start of the film."""
    reason: str
    """For people: `blurriest`, `typical` or `asked`."""
    blur: float | None = None
    """Width of the edges there in pixels, where it was measured."""


def survey_film(path: str | Path) -> Survey:
    """Decode a film, or places all over a long one, and read the meters on some of the frames.

    Raises:
        OptionError: it is standard input, which cannot be read twice.
        VideoReadError: nothing can be decoded.
    """
    if str(path) == "-":
        raise OptionError("standard input can be read only once; save it to a file first")
    with VideoReader(path, on_error="continue", dolby_vision="ignore") as reader:
        info = reader.info
        pixels = info.height * info.width
        most = max(IN_A_ROW, MOST_DECODED_PIXELS // pixels)
        if info.frame_count is not None and info.frame_count > most and info.duration_seconds:
            return Survey(info, tuple(_places(info)), None, None)
        step = max(1, math.ceil((info.frame_count or most) * pixels / MOST_MEASURED_PIXELS))
        counter = _Counter()
        frames = tuple(_measured(counter.counted(itertools.islice(detect_cuts(reader), most)), info, step=step))
        is_whole = next(iter(reader), None) is None
    return Survey(info, frames, *((counter.frames, counter.shots) if is_whole else (None, None)))


def choose_moments(survey: Survey, count: int) -> list[Moment]:
    """The blurriest and the most typical frames, half of each, apart from each other and in order of time.

    Fewer where the film has fewer frames. Frames of other shots are preferred, then those that are far away.
    """
    frames = survey.telling or list(survey.frames)
    if not frames:
        length = survey.info.duration_seconds or 0.0
        return [Moment(length * (place + 0.5) / count, "spread evenly") for place in range(count)]
    usual = sorted(frame.meters.blur for frame in frames)[len(frames) // 2]
    blurriest = _apart(sorted(frames, key=lambda frame: -frame.meters.blur), [], (count + 1) // 2)
    ordered = sorted(frames, key=lambda frame: abs(frame.meters.blur - usual))
    typical = _apart([frame for frame in ordered if frame not in blurriest], blurriest, count - len(blurriest))
    found = [Moment(frame.seconds, "blurriest", frame.meters.blur) for frame in blurriest]
    found += [Moment(frame.seconds, "typical", frame.meters.blur) for frame in typical]
    return sorted(found, key=lambda moment: moment.seconds)


class _Counter:
    """Frames and shots that went by."""

    def __init__(self) -> None:
        self.frames = self.shots = 0

    def counted(self, frames: Iterator[Frame]) -> Iterator[tuple[int, int, Frame]]:
        """Number of the frame, number of its shot from 1 on, and the frame."""
        for number, frame in enumerate(frames):
            self.shots += frame.starts_shot or not number
            self.frames += 1
            yield number, self.shots, frame


def _measured(frames: Iterator[tuple[int, int, Frame]], info: VideoInfo, *, step: int = 1) -> Iterator[SeenFrame]:
    for number, shot, frame in frames:
        if number % step == 0 and (meters := measure_image(frame.image)) is not None:
            yield SeenFrame(frame.seconds - float(info.start_seconds), shot, meters)


def _places(info: VideoInfo) -> Iterator[SeenFrame]:
    assert info.duration_seconds is not None
    places = max(3, min(PLACES, MOST_MEASURED_PIXELS // (IN_A_ROW * info.height * info.width)))
    for place in range(places):
        seconds = float(info.start_seconds) + info.duration_seconds * (place + 0.5) / places
        near = round(seconds / info.time_base)
        with VideoReader(info.path, on_error="continue", dolby_vision="ignore", near_pts=near) as reader:
            counter = _Counter()
            try:
                seen = list(_measured(counter.counted(itertools.islice(detect_cuts(reader), IN_A_ROW)), info))
            except VideoReadError:
                continue
            # Shots of different places are different, as far as anybody knows.
            yield from (SeenFrame(frame.seconds, place * IN_A_ROW + frame.shot, frame.meters) for frame in seen)


def _apart(ranked: Sequence[SeenFrame], taken: Sequence[SeenFrame], count: int) -> list[SeenFrame]:
    """The first of `ranked` that are in no taken shot; then those far from what is taken; then any."""
    chosen: list[SeenFrame] = []
    length = max((frame.seconds for frame in ranked), default=0.0) - min((frame.seconds for frame in ranked), default=0)
    for gap in (math.inf, length / (4 * max(1, count)), 0.0):
        for frame in ranked:
            if len(chosen) >= count:
                return chosen
            near = [
                other
                for other in (*taken, *chosen)
                if other is frame or (other.shot == frame.shot and abs(other.seconds - frame.seconds) < gap)
            ]
            if not near:
                chosen.append(frame)
    return chosen
