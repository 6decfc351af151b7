"""Clips compared with the truth, frame by frame, restored on the way where asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol, TypeVar

import numpy as np

from fmanet_cli.dataset.byte_images import ByteImage, describe_size, quantize
from fmanet_cli.dataset.clips import Clip, MatchedClip
from fmanet_cli.dataset.degrade import (
    PRESET_FRAMES,
    PRESET_PIXELS,
    Degradation,
    DegradedFrame,
    degrade_clip,
    record_clip,
)
from fmanet_cli.dataset.resampling import SCALE, enlarge
from fmanet_cli.errors import EvaluationError
from fmanet_cli.evaluation.extras import NO_EXTRAS, Extras, PerceptualMetric
from fmanet_cli.evaluation.metrics import (
    FlowTrack,
    FrameScores,
    colour_shift,
    flow_difference,
    flow_warped_change,
    overshoot_share,
    psnr,
    ssim,
)
from fmanet_cli.evaluation.scores import ScoredFrame
from fmanet_cli.video.frames import Frame

Item = TypeVar("Item")
_Compared = tuple["RestoredFrame", tuple[ByteImage, ...]]
"""A frame to be scored, and what of it is compared with the truth."""

SETTLING_FRAMES = 3
"""First frames of a recorded clip that are not scored."""

COMPARED_TILE_PIXELS = 128
"""Side of the tiles that whole frames are compared with, in low-resolution pixels."""

COMPARED_OVERLAP_PIXELS = 16
"""Their overlap."""


class FrameRestorer(Protocol):
    """What restores frames: `engine.restorer.Restorer` or a stand-in."""

    def restore(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield one restored frame of 4 times the size for each frame, in order."""


@dataclass(frozen=True, slots=True, eq=False)
class RestoredFrame:
    """A frame to be scored."""

    restored: ByteImage
    """(4H, 4W, 3) uint8, RGB."""
    truth: ByteImage
    """(4H, 4W, 3) uint8, RGB."""
    blurry: ByteImage | None = None
    """(H, W, 3) uint8, RGB; None where it is not known."""
    tile_psnr: float | None = None
    """PSNR in dB between the frame restored as asked and restored in tiles, unrounded; None if not asked for."""


def compare_clips(clips: Iterable[MatchedClip], *, extras: Extras = NO_EXTRAS) -> Iterator[ScoredFrame]:
    """Yield the scores of restored clips against their truth, frame by frame; bicubic beside where the input is known.

    One frame of each side is in memory at a time. Raises EvaluationError where numbers or sizes of frames differ.
    """
    for clip in clips:
        sides = [clip.candidate, clip.truth] + ([clip.blurry] if clip.blurry else [])
        frames = (_side_by_side(*images) for images in _in_step(clip.name, sides))
        yield from score_frames(clip.name, frames, extras=extras)


def restore_and_compare(
    clips: Iterable[MatchedClip],
    restorer: FrameRestorer,
    *,
    tiled_restorer: FrameRestorer | None = None,
    frame_limit: int | None = None,
    skip_ends: bool = False,
    extras: Extras = NO_EXTRAS,
) -> Iterator[ScoredFrame]:
    """Yield the scores of low-resolution clips after restoring them, frame by frame, with bicubic beside.

    `frame_limit` bounds the frames taken of each clip. `skip_ends` leaves a clip's first and last frame out of the
    scores, not out of the network's sight (the paper's protocol). `tiled_restorer` restores the same frames for
    `tile_psnr`. Raises EvaluationError where numbers or sizes of frames do not match.
    """
    for clip in clips:
        pairs = (DegradedFrame(*images) for images in _in_step(clip.name, [clip.candidate, clip.truth]))
        frames = restore_frames(
            _fitting(clip.name, itertools.islice(pairs, frame_limit)), restorer, tiled_restorer=tiled_restorer
        )
        yield from score_frames(clip.name, _without_ends(frames) if skip_ends else frames, extras=extras)


def degrade_and_compare(
    clips: Iterable[Clip],
    restorer: FrameRestorer,
    *,
    degradation: Degradation,
    tiled_restorer: FrameRestorer | None = None,
    extras: Extras = NO_EXTRAS,
) -> Iterator[ScoredFrame]:
    """Yield the scores of sharp clips after degrading and restoring them, frame by frame, with bicubic beside."""
    for clip in clips:
        frames = restore_frames(degrade_clip(clip, degradation), restorer, tiled_restorer=tiled_restorer)
        yield from score_frames(clip.name, frames, extras=extras)


def record_and_compare(
    clips: Iterable[Clip],
    restorer: FrameRestorer,
    *,
    presets: Sequence[str],
    frame_limit: int = PRESET_FRAMES,
    size_limit: int = PRESET_PIXELS,
    tiled_restorer: FrameRestorer | None = None,
    extras: Extras = NO_EXTRAS,
) -> Iterator[ScoredFrame]:
    """Yield the scores of sharp clips after recording them by each preset and restoring them, condition by condition.

    The first frames, in which codecs and networks settle, are left out of the scores.
    """
    for preset, clip in itertools.product(presets, clips):
        for recorded in record_clip(clip, preset, frame_limit=frame_limit, size_limit=size_limit):
            frames = restore_frames(recorded.frames, restorer, tiled_restorer=tiled_restorer)
            settled = itertools.islice(frames, min(SETTLING_FRAMES, len(recorded.frames) - 1), None)
            condition = recorded.condition if len(presets) == 1 else f"{preset}, {recorded.condition}"
            for scored in score_frames(f"{clip.name}, {condition}", settled, extras=extras):
                yield replace(scored, preset=preset, condition=condition, input_digest=recorded.digest)


def restore_frames(
    pairs: Iterable[DegradedFrame], restorer: FrameRestorer, *, tiled_restorer: FrameRestorer | None = None
) -> Iterator[RestoredFrame]:
    """Yield each pair with its restored frame; holds only the frames that the restorer looks ahead."""
    waiting, first, second = itertools.tee(pairs, 3)
    restored = restorer.restore(_as_video(first))
    tiled = tiled_restorer.restore(_as_video(second)) if tiled_restorer else (None for _ in second)
    for pair, whole, pieces in zip(waiting, restored, tiled, strict=True):
        agreement = None if pieces is None else psnr(whole.image, pieces.image, border=0, peak=1.0)
        yield RestoredFrame(quantize(whole.image), pair.truth, pair.blurry, agreement)


def score_frames(name: str, frames: Iterable[RestoredFrame], *, extras: Extras = NO_EXTRAS) -> Iterator[ScoredFrame]:
    """Yield the scores of one clip's frames, in order; only the frames before are kept, for their motion.

    With a video metric the scores come after the clip's last frame. Raises EvaluationError where sizes differ or a
    frame is too small.
    """
    compared = ((frame, _sides(name, index, frame)) for index, frame in enumerate(frames))
    if extras.video is None:
        yield from _scored(name, compared, extras)
        return
    with extras.video.clip() as clip:

        def noted() -> Iterator[_Compared]:
            for frame, sides in compared:
                clip.add(frame.truth, *sides)
                yield frame, sides

        scores = list(_scored(name, noted(), extras))
        for score, (restored, *bicubic) in zip(scores, clip.finish(), strict=True):
            yield replace(
                score,
                restored=replace(score.restored, vmaf_neg=restored.vmaf_neg, xpsnr=restored.xpsnr),
                bicubic=score.bicubic and replace(score.bicubic, vmaf_neg=bicubic[0].vmaf_neg, xpsnr=bicubic[0].xpsnr),
            )


def _sides(name: str, index: int, frame: RestoredFrame) -> tuple[ByteImage, ...]:
    """The restored frame and, where the low-resolution frame is known, its bicubic enlargement."""
    _check_size(name, index, frame)
    return (frame.restored,) if frame.blurry is None else (frame.restored, enlarge(frame.blurry))


def _scored(name: str, frames: Iterable[_Compared], extras: Extras) -> Iterator[ScoredFrame]:
    tracks = FlowTrack(), FlowTrack(), FlowTrack()
    for index, (frame, sides) in enumerate(frames):
        truth = frame.truth
        true_before = tracks[0].before
        true_flow = tracks[0].step(truth)
        motion = None
        if true_flow is not None and true_before is not None:
            motion = _Motion(true_flow, flow_warped_change(true_before, truth, true_flow))
        lines = extras.text.find(truth) if extras.text else []
        scores = [
            replace(
                _score(side, truth, track, motion, extras.perceptual),
                text=extras.text.read(side, lines) if extras.text else None,
            )
            for side, track in zip(sides, tracks[1:], strict=False)
        ]
        shifts = [colour_shift(side, truth) for side in sides]
        yield ScoredFrame(
            clip=name,
            index=index,
            restored=scores[0],
            bicubic=scores[1] if len(scores) > 1 else None,
            colour_shift=shifts[0],
            bicubic_colour_shift=shifts[1] if len(shifts) > 1 else None,
            tile_psnr=frame.tile_psnr,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Motion:
    """The truth's flow since the frame before, and how much the truth itself changes along it."""

    flow: np.ndarray
    change: float


def _score(
    image: ByteImage,
    truth: ByteImage,
    track: FlowTrack,
    motion: _Motion | None,
    perceptual: PerceptualMetric | None,
) -> FrameScores:
    before = track.before
    flow = track.step(image)
    tof = flicker = None
    if flow is not None and before is not None and motion is not None:
        tof = flow_difference(flow, motion.flow)
        flicker = flow_warped_change(before, image, motion.flow) - motion.change
    return FrameScores(
        psnr=psnr(image, truth),
        ssim=ssim(image, truth),
        tof=tof,
        lpips=perceptual(image, truth) if perceptual else None,
        overshoot=overshoot_share(image, truth),
        flicker=flicker,
    )


def _side_by_side(restored: ByteImage, truth: ByteImage, blurry: ByteImage | None = None) -> RestoredFrame:
    return RestoredFrame(restored, truth, blurry)


def _in_step(name: str, clips: list[Clip]) -> Iterator[tuple[ByteImage, ...]]:
    """Yield one frame of each clip at a time."""
    for count, images in enumerate(itertools.zip_longest(*(clip.frames() for clip in clips))):
        if any(image is None for image in images):
            short = clips[[image is None for image in images].index(True)]
            raise EvaluationError(
                f"clip {name}: {short.files[0]} ends after {count} frames, the others go on: give the same"
            )
        yield images


def _fitting(name: str, pairs: Iterable[DegradedFrame]) -> Iterator[DegradedFrame]:
    """Yield the pairs with the truth cut to 4 times the low-resolution frame, at most 3 rows and columns."""
    for index, pair in enumerate(pairs):
        height, width = (SCALE * side for side in pair.blurry.shape[:2])
        surplus = pair.truth.shape[0] - height, pair.truth.shape[1] - width
        if not all(0 <= extra < SCALE for extra in surplus):
            raise EvaluationError(
                f"clip {name}, frame {index}: the truth must be 4 times the input, "
                f"got {describe_size(pair.truth)} for {describe_size(pair.blurry)}"
            )
        yield DegradedFrame(pair.blurry, pair.truth[:height, :width])


def _check_size(name: str, index: int, frame: RestoredFrame) -> None:
    if frame.restored.shape != frame.truth.shape:
        raise EvaluationError(
            f"clip {name}, frame {index}: sizes differ, "
            f"restored {describe_size(frame.restored)}, truth {describe_size(frame.truth)}"
        )
    if frame.blurry is not None and tuple(SCALE * side for side in frame.blurry.shape[:2]) != frame.truth.shape[:2]:
        raise EvaluationError(
            f"clip {name}, frame {index}: the truth must be 4 times the input, "
            f"got {describe_size(frame.truth)} for {describe_size(frame.blurry)}"
        )


def _as_video(pairs: Iterable[DegradedFrame]) -> Iterator[Frame]:
    for index, pair in enumerate(pairs):
        image = pair.blurry.astype(np.float32) / np.float32(255)
        yield Frame(image=image, pts=index, time_base=Fraction(1, 25), duration=1)


def _without_ends(items: Iterable[Item]) -> Iterator[Item]:
    kept = itertools.islice(items, 1, None)
    for item, _after in itertools.pairwise(kept):
        yield item
