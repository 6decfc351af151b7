"""Blurry low-resolution frames made from sharp clips, with the sharp frames beside them."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fmanet_cli.dataset.byte_images import ByteImage, describe_size
from fmanet_cli.dataset.camera import draw_camera_path, film_photograph, view_size
from fmanet_cli.dataset.clips import Clip
from fmanet_cli.dataset.exposure import blur_clip
from fmanet_cli.dataset.imaging.chain import image_clip
from fmanet_cli.dataset.imaging.presets import condition_name, find_preset
from fmanet_cli.dataset.resampling import crop_centre, shrink
from fmanet_cli.errors import EvaluationError, OptionError

PHOTOGRAPH_FRAMES = 8
"""Frames of the clip made of a photograph unless a limit says otherwise."""

STILL_FRAMES = 3
"""Frames of a clip without motion unless a limit says otherwise."""

PRESET_FRAMES = 9
"""Frames of a clip recorded by a preset unless a limit says otherwise."""

PRESET_PIXELS = 384
"""Sides of the sharp frames of a preset unless a limit says otherwise."""

_CODED_MULTIPLE = 8

LEAST_SIDE_PIXELS = 64
"""Smallest side of a sharp frame: 16 pixels for the network."""


@dataclass(frozen=True, slots=True)
class Degradation:
    """How sharp clips become blurry low-resolution ones."""

    exposure: float = 0.8
    """Share of the frame interval during which the shutter is open, in [0, 1]."""
    stride: int = 1
    """Source frames of a video between two frames of the made clip: 2 doubles motion and blur."""
    frame_limit: int | None = None
    """Most frames made of a clip; None: all of a video, 8 of a photograph, 3 without motion."""
    size_limit: int | None = None
    """Largest height and width of the sharp frames in pixels, by cropping the centre; None: as large as they are."""
    still: bool = False
    """Make clips without motion: the first frame over and over, unblurred."""
    seed: int = 0
    """Seed of the camera paths over photographs."""

    def __post_init__(self) -> None:
        if not 0 <= self.exposure <= 1:
            raise OptionError(f"exposure must be between 0 and 1 of the frame interval, got exposure={self.exposure}")
        for name, least in (("stride", 1), ("frame_limit", 1), ("size_limit", LEAST_SIDE_PIXELS), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise OptionError(f"{name} must be at least {least}, got {name}={value}")


@dataclass(frozen=True, slots=True, eq=False)
class DegradedFrame:
    """A frame for the network and the frame that it should give back."""

    blurry: ByteImage
    """(H, W, 3) uint8, RGB."""
    truth: ByteImage
    """(4H, 4W, 3) uint8, RGB."""


def expected_count(clip: Clip, degradation: Degradation) -> int | None:
    """Return how many frames `degrade_clip` will make, for a progress bar; None where only decoding can tell."""
    if degradation.still:
        return degradation.frame_limit or STILL_FRAMES
    return degradation.frame_limit or (PHOTOGRAPH_FRAMES if clip.is_photograph else None)


def degrade_clip(clip: Clip, degradation: Degradation) -> Iterator[DegradedFrame]:
    """Yield the frames of a sharp clip, blurred and at a quarter of the size, each with its truth.

    Videos and folders of frames are blurred along their own motion, photographs are filmed by a seeded camera. The
    truth is cropped to sides that are multiples of 4. The same clip and settings always give the same frames. Raises
    EvaluationError for clips that are too small or too short.
    """
    for blurred, truth in _blurred_pairs(clip, degradation):
        yield DegradedFrame(shrink(blurred), truth)


@dataclass(frozen=True, slots=True, eq=False)
class RecordedClip:
    """A sharp clip as a camera would have recorded it."""

    condition: str
    """Motion and exposure in words."""
    frames: tuple[DegradedFrame, ...]
    """In order."""
    digest: str
    """SHA-256 of the low-resolution frames: other encoder builds may make other ones."""


def record_clip(
    clip: Clip, preset: str, *, frame_limit: int = PRESET_FRAMES, size_limit: int = PRESET_PIXELS
) -> Iterator[RecordedClip]:
    """Yield a sharp clip as each condition of a preset records it: blurred, imaged, coded, at a quarter of the size.

    Camera paths and noise depend on the names of preset and clip alone. Raises OptionError for an unknown preset and
    EvaluationError for clips that are too small or too short.
    """
    plan = find_preset(preset)
    seed = zlib.crc32(f"{preset}/{clip.name}/1".encode())
    for exposure in plan.exposures:
        degradation = Degradation(
            exposure=exposure or 0.0,
            still=exposure is None,
            frame_limit=frame_limit,
            size_limit=size_limit // _CODED_MULTIPLE * _CODED_MULTIPLE,
            seed=seed,
        )
        blurred, truths = zip(*_blurred_pairs(clip, degradation), strict=True)
        height, width = (side // _CODED_MULTIPLE * _CODED_MULTIPLE for side in truths[0].shape[:2])
        images = [image[:height, :width].astype(np.float32) / np.float32(255) for image in blurred]
        frames = image_clip(images, plan.levels, np.random.default_rng(seed)).frames
        pairs = (DegradedFrame(low, truth[:height, :width]) for low, truth in zip(frames, truths, strict=True))
        yield RecordedClip(condition_name(exposure), tuple(pairs), hashlib.sha256(frames.tobytes()).hexdigest())


def _blurred_pairs(clip: Clip, degradation: Degradation) -> Iterator[tuple[ByteImage, ByteImage]]:
    if degradation.still:
        pairs = _still_pairs(clip, degradation)
    elif clip.is_photograph:
        pairs = _photograph_pairs(clip, degradation)
    else:
        pairs = _video_pairs(clip, degradation)
    empty = True
    for pair in pairs:
        empty = False
        yield pair
    if empty:
        raise EvaluationError(f"clip {clip.name} has too few frames to blur: it needs more than its first and last")


def _still_pairs(clip: Clip, degradation: Degradation) -> Iterator[tuple[ByteImage, ByteImage]]:
    for image in itertools.islice(clip.frames(), 1):
        truth = _crop(clip, image, degradation.size_limit)
        yield from itertools.repeat((truth, truth), degradation.frame_limit or STILL_FRAMES)


def _photograph_pairs(clip: Clip, degradation: Degradation) -> Iterator[tuple[ByteImage, ByteImage]]:
    photograph = next(clip.frames())
    size = view_size(photograph, limit=degradation.size_limit)
    if min(size) < LEAST_SIDE_PIXELS:
        raise EvaluationError(f"photograph {clip.name} is too small to be filmed: {describe_size(photograph)}")
    return film_photograph(
        photograph,
        draw_camera_path(clip.name, seed=degradation.seed),
        frame_count=degradation.frame_limit or PHOTOGRAPH_FRAMES,
        view_size=size,
        exposure=degradation.exposure,
    )


def _video_pairs(clip: Clip, degradation: Degradation) -> Iterator[tuple[ByteImage, ByteImage]]:
    frames = (_crop(clip, image, degradation.size_limit) for image in clip.frames())
    pairs = blur_clip(frames, stride=degradation.stride, exposure=degradation.exposure)
    return itertools.islice(pairs, degradation.frame_limit)


def _crop(clip: Clip, image: ByteImage, limit: int | None) -> ByteImage:
    if min(image.shape[:2]) < LEAST_SIDE_PIXELS:
        raise EvaluationError(
            f"clip {clip.name} is too small: {describe_size(image)}, at least {LEAST_SIDE_PIXELS} a side"
        )
    return crop_centre(image, limit=limit)
