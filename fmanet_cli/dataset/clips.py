"""Clips on disk: folders of frames, videos, photographs, and sets of them matched by name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fmanet_cli.dataset.byte_images import ByteImage, describe_size, quantize
from fmanet_cli.errors import EvaluationError
from fmanet_cli.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from fmanet_cli.video.read.images import read_image
from fmanet_cli.video.read.reader import VideoReader


@dataclass(frozen=True, slots=True)
class Clip:
    """A sequence of frames on disk: one video, or image files in order."""

    name: str
    """What the report calls it."""
    files: tuple[Path, ...]
    """The video alone, or one image file for each frame."""
    is_video: bool
    """Whether the one file is a video."""

    @property
    def known_count(self) -> int | None:
        """Number of frames, where it is known without decoding; None for a video."""
        return None if self.is_video else len(self.files)

    @property
    def is_photograph(self) -> bool:
        """Whether the clip is one image."""
        return not self.is_video and len(self.files) == 1

    def frames(self) -> Iterator[ByteImage]:
        """Yield the frames as (H, W, 3) uint8, RGB, one in memory at a time.

        Raises EvaluationError where the size changes and VideoReadError where a file cannot be decoded.
        """
        size = None
        for index, image in enumerate(self._images()):
            size = size or image.shape
            if image.shape != size:
                raise EvaluationError(
                    f"clip {self.name}: frame {index} is {describe_size(image)}, the first {size[1]}x{size[0]}: "
                    "give frames of one size, or take them for photographs",
                    remedy="photos",
                )
            yield quantize(image)

    def _images(self) -> Iterator[np.ndarray]:
        if self.is_video:
            with VideoReader(self.files[0]) as reader:
                for frame in reader:
                    yield frame.image
        else:
            yield from map(read_image, self.files)


@dataclass(frozen=True, slots=True)
class MatchedClip:
    """Clips of the same frames: what is compared, and with what."""

    name: str
    """What the report calls it."""
    candidate: Clip
    """Restored or low-resolution frames."""
    truth: Clip
    """Sharp frames."""
    blurry: Clip | None = None
    """Low-resolution frames beside restored ones, for the bicubic enlargement; None where they are not known."""


def find_clips(path: Path) -> list[Clip]:
    """Return the clips at `path`, sorted by name.

    A video is one clip, a folder of images is one clip with the images in natural order, and a folder of videos or
    of such folders is one clip each. Raises EvaluationError if there are none or the folder mixes images and videos.
    """
    images, videos, folders = _look(path)
    if images and videos:
        raise EvaluationError(f"{path} holds images and videos: give a folder of one kind")
    if images:
        return [Clip(_name_of(path), tuple(images), is_video=False)]
    clips = [Clip(video.stem, (video,), is_video=True) for video in videos]
    clips += [Clip(folder.name, tuple(found), is_video=False) for folder in folders if (found := _look(folder)[0])]
    _refuse_none(path, clips)
    _refuse_same_names(clips)
    return clips


def find_sharp_clips(paths: Iterable[Path], *, photographs: bool = False) -> list[Clip]:
    """Return the clips at `paths` as `find_clips` does, with photographs as clips of one image each.

    Images of one folder are frames of a clip if their names differ only in a number at the end, otherwise
    photographs; `photographs=True` takes all for photographs. They may lie beside videos.
    """
    clips: list[Clip] = []
    for path in paths:
        images, videos, folders = _look(path)
        found = [Clip(video.stem, (video,), is_video=True) for video in videos]
        for name, group in [(_name_of(path), images), *((folder.name, _look(folder)[0]) for folder in folders)]:
            if photographs or not _are_numbered(group):
                found += [Clip(image.stem, (image,), is_video=False) for image in group]
            else:
                found.append(Clip(name, tuple(group), is_video=False))
        _refuse_none(path, found)
        clips += found
    _refuse_same_names(clips)
    return clips


def match_clips(
    candidates: Sequence[Clip], truths: Sequence[Clip], *, inputs: Sequence[Clip] | None = None
) -> list[MatchedClip]:
    """Pair two or three sets of clips by name; a single clip on each side is a pair whatever the names.

    Raises EvaluationError if a clip has no partner, or where the numbers of frames are known and differ.
    """
    partners = [_partners(candidates, side) for side in (truths, inputs) if side is not None]
    return [MatchedClip(clip.name, clip, *found) for clip, *found in zip(candidates, *partners, strict=True)]


def name_apart(clips: Sequence[MatchedClip]) -> list[MatchedClip]:
    """Return the clips with the parent folder in front of every name that occurs more than once."""
    names = [clip.name for clip in clips]
    renamed = [
        replace(clip, name=f"{_parent_of(clip.candidate)}/{clip.name}") if names.count(clip.name) > 1 else clip
        for clip in clips
    ]
    _refuse_same_names(renamed)
    return renamed


def _partners(clips: Sequence[Clip], others: Sequence[Clip]) -> list[Clip]:
    """Return for each of `clips` the one of `others` that belongs to it."""
    if len(clips) == len(others) == 1:
        partners = list(others)
    else:
        by_name = {clip.name: clip for clip in others}
        lonely = sorted({clip.name for clip in clips} ^ by_name.keys())
        if lonely:
            shown = ", ".join(lonely[:5]) + (f" and {len(lonely) - 5} more" if len(lonely) > 5 else "")
            raise EvaluationError(f"clips without a partner of the same name: {shown}")
        partners = [by_name[clip.name] for clip in clips]
    for clip, partner in zip(clips, partners, strict=True):
        counts = clip.known_count, partner.known_count
        if None not in counts and counts[0] != counts[1]:
            raise EvaluationError(
                f"clip {clip.name} has {counts[0]} frames, its partner {counts[1]}: give the same frames"
            )
    return partners


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts `frame10` after `frame9`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _look(path: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Return the images, videos and folders at `path`, each in natural order."""
    if os.path.isfile(path):
        is_image = path.suffix.lower() in IMAGE_SUFFIXES
        return ([path], [], []) if is_image else ([], [path], [])
    if not os.path.isdir(path):
        raise EvaluationError(f"no such file or folder: {path}")
    entries = sorted((entry for entry in path.iterdir() if not entry.name.startswith(".")), key=_natural_order)
    images = [entry for entry in entries if entry.suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(entry)]
    videos = [entry for entry in entries if entry.suffix.lower() in VIDEO_SUFFIXES and os.path.isfile(entry)]
    return images, videos, [entry for entry in entries if os.path.isdir(entry)]


def _refuse_none(path: Path, clips: Sequence[Clip]) -> None:
    if not clips:
        raise EvaluationError(f"no images or videos in {path}: give a video, a folder of frames or a folder of clips")


def _refuse_same_names(clips: Sequence[Clip] | Sequence[MatchedClip]) -> None:
    names = [clip.name for clip in clips]
    if len(set(names)) < len(names):
        raise EvaluationError(f"several clips are called {max(names, key=names.count)}: rename them")


def _are_numbered(images: Sequence[Path]) -> bool:
    stems = [image.stem for image in images]
    return len({stem.rstrip("0123456789") for stem in stems}) == 1 and all(stem[-1].isdigit() for stem in stems)


def _name_of(path: Path) -> str:
    return path.stem if os.path.isfile(path) else path.resolve().name


def _parent_of(clip: Clip) -> str:
    place = clip.files[0].resolve().parent
    return place.name if clip.is_video else place.parent.name
