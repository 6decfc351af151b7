"""Numbered image files as one video."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av

from fmanet_cli.errors import OptionError, VideoReadError
from fmanet_cli.files import IMAGE_SUFFIXES
from fmanet_cli.video.frames import VideoInfo
from fmanet_cli.video.pixels.formats import pixel_layout, smallest_alpha
from fmanet_cli.video.read.describe import DeclaredTags, colour_of
from fmanet_cli.video.read.faults import FaultLog
from fmanet_cli.video.read.images import decode_image
from fmanet_cli.video.read.rational import DEFAULT_FRAME_RATE
from fmanet_cli.video.read.source_state import SourceState

_NUMBERED_SUFFIXES = IMAGE_SUFFIXES | {".exr", ".ppm", ".dpx"}
_NUMBER = re.compile(r"%(0(\d+))?d")
_WIDTH_DIGITS = 2


def is_sequence_pattern(path: str | Path) -> bool:
    """Whether a path stands for numbered images: `%d` or `%05d` in the name of an image file."""
    name = Path(path)
    if name.suffix.lower() not in _NUMBERED_SUFFIXES or _NUMBER.search(name.name) is None:
        return False
    try:
        return not name.exists()
    except OSError:
        return True


def sequence_name(pattern: str | Path) -> str:
    """The name of a pattern without the width of its number: `%d` and `%05d` mean the same files."""
    return _NUMBER.sub("%d", Path(pattern).name)


def sequence_file(pattern: str | Path, number: int) -> Path:
    """Path of one image of a sequence."""
    path = Path(pattern)
    match = _single_number(path)
    digits = str(number).zfill(int(match[2] or 0))
    return path.with_name(path.name[: match.start()] + digits + path.name[match.end() :])


def existing_files(pattern: str | Path) -> dict[int, Path]:
    """Number -> path of the images that exist, in rising order of number."""
    path = Path(pattern)
    match = _single_number(path)
    before, after = path.name[: match.start()], path.name[match.end() :]
    digits = f"[0-9]{{{int(match[2])},}}" if match[2] else "[0-9]+"
    wanted = re.compile(re.escape(before) + f"({digits})" + re.escape(after) + "$")
    found = {}
    if os.path.isdir(path.parent):
        for file in path.parent.iterdir():
            if named := wanted.match(file.name):
                found[int(named[1])] = file
    return dict(sorted(found.items()))


def list_sequence(pattern: str | Path) -> list[Path]:
    """Paths of a sequence without gaps, starting at its smallest number.

    Raises VideoReadError when nothing matches or when a number is missing between the first and the last.
    """
    try:
        found = existing_files(pattern)
    except OSError as error:
        raise VideoReadError(f"{pattern} cannot be read: {error.strerror}") from error
    if not found:
        raise VideoReadError(f"no image matches {pattern}")
    numbers = list(found)
    for number, following in pairwise(numbers):
        if following != number + 1:
            raise VideoReadError(f"image sequence {pattern} has a gap: {sequence_file(pattern, number + 1)} is missing")
    return list(found.values())


def _single_number(path: Path) -> re.Match[str]:
    matches = list(_NUMBER.finditer(path.name))
    if len(matches) != 1:
        raise OptionError(f"an image sequence needs one number like %05d in its file name, got {path.name!r}")
    if len(matches[0][2] or "") > _WIDTH_DIGITS:
        raise OptionError(f"the numbers of an image sequence have at most 99 digits, got {path.name!r}")
    return matches[0]


class ImageSource:
    """The images of a sequence in order, one decoded at a time; frame `k` is shown at `k / frame_rate` seconds."""

    has_captions = False
    """Images have none."""

    def __init__(self, pattern: str, *, faults: FaultLog, colour: str, frame_rate: Fraction | None):
        self._files = list_sequence(pattern)
        self.state = SourceState.of(self._files)
        first = decode_image(self._files[0])
        self.coded_size = first.height, first.width
        layout = pixel_layout(first.format.name)
        rate = frame_rate or DEFAULT_FRAME_RATE
        codec = "mjpeg" if self._files[0].suffix.lower() in (".jpg", ".jpeg") else self._files[0].suffix[1:].lower()
        described, warnings = colour_of(first, declared=DeclaredTags(2, 0, 2, 2), codec=codec, requested=colour)
        faults.notes.add(*warnings)
        if smallest_alpha(first) < 1:
            faults.notes.add("the images have transparency, which is dropped")
        self.info = VideoInfo(
            path=pattern,
            height=first.height,
            width=first.width,
            time_base=1 / rate,
            frame_rate=rate,
            colour=described,
            bit_depth=layout.bits,
            pixel_format=first.format.name,
            horizontal_shift=layout.horizontal_shift,
            vertical_shift=layout.vertical_shift,
            codec=codec,
            container="image2",
            frame_count=len(self._files),
            duration_seconds=float(len(self._files) / rate),
        )

    def decoded_frames(self, _start_seconds: Fraction | None) -> Iterator[av.VideoFrame]:
        """Decoded images with their timestamps."""
        for number, file in enumerate(self._files):
            decoded = decode_image(file)
            decoded.pts, decoded.time_base = number, self.info.time_base
            yield decoded

    def drop_unrequested_packets(self) -> None:
        """Nothing to do: images have no other streams."""

    def end_seconds(self) -> Fraction | None:
        """When the last image ends."""
        return len(self._files) * self.info.time_base

    def close(self) -> None:
        """Nothing to do: every file is closed when it has been decoded."""
