"""Clips compared with their truth."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fmanet_cli.dataset.clips import Clip, MatchedClip, find_clips, match_clips
from fmanet_cli.dataset.degrade import Degradation, DegradedFrame
from fmanet_cli.dataset.resampling import shrink
from fmanet_cli.errors import EvaluationError
from fmanet_cli.evaluation.evaluate import (
    RestoredFrame,
    compare_clips,
    degrade_and_compare,
    restore_and_compare,
    restore_frames,
    score_frames,
)
from fmanet_cli.evaluation.extras import Extras


def flat(value: int, height: int = 64, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def matched(candidate: Path, truth: Path, blurry: Path | None = None) -> list[MatchedClip]:
    return match_clips(find_clips(candidate), find_clips(truth), inputs=find_clips(blurry) if blurry else None)


def test_restored_clips_are_compared_as_they_are(write_frames):
    restored = write_frames("restored", [flat(100), flat(100), flat(90)])
    scores = list(compare_clips(matched(restored, write_frames("sharp", [flat(100), flat(116), flat(106)]))))
    assert [(frame.clip, frame.index) for frame in scores] == [("restored", 0), ("restored", 1), ("restored", 2)]
    assert scores[0].restored.psnr == math.inf
    assert scores[1].restored.psnr == pytest.approx(20 * math.log10(255 / 16))
    assert [frame.restored.tof for frame in scores] == [None, 0, 0]
    assert scores[2].colour_shift == (-16, -16, -16)
    assert scores[0].bicubic is None


def test_bicubic_stands_beside_where_the_input_is_known(write_frames, scene):
    truth, dim = scene[:64, :96], (scene[:64, :96] * 0.8).astype(np.uint8)
    paths = [write_frames(name, [image] * 2) for name, image in (("out", dim), ("gt", truth), ("lr", shrink(truth)))]
    scores = list(compare_clips(matched(*paths)))
    assert scores[1].bicubic.psnr > scores[1].restored.psnr
    assert scores[1].bicubic.tof == pytest.approx(0, abs=1e-3)
    assert scores[0].bicubic_colour_shift == pytest.approx((0, 0, 0), abs=0.2)


def test_low_resolution_frames_are_restored_first(write_frames, restorer, scene):
    truths = [scene[: 4 * 16 + 3, 8 * i : 8 * i + 96] for i in range(4)]
    blurry = write_frames("blurry", [shrink(truth[:64]) for truth in truths])
    scores = list(restore_and_compare(matched(blurry, write_frames("sharp", truths)), restorer))
    assert len(scores) == 4
    assert all(
        np.subtract(frame.colour_shift, frame.bicubic_colour_shift) == pytest.approx(2, abs=1e-9) for frame in scores
    )
    assert len(list(restore_and_compare(matched(blurry, blurry.parent / "sharp"), restorer, frame_limit=3))) == 3


def test_the_papers_protocol_leaves_out_the_ends_of_a_clip(write_frames, restorer):
    truths = [flat(value) for value in (0, 50, 60, 70, 255)]
    blurry = write_frames("blurry", [shrink(truth) for truth in truths])
    scores = list(restore_and_compare(matched(blurry, write_frames("sharp", truths)), restorer, skip_ends=True))
    assert [frame.index for frame in scores] == [0, 1, 2]
    assert restorer.taken == 5
    assert [frame.restored.tof is None for frame in scores] == [True, False, False]


def test_sharp_clips_are_degraded_and_restored(write_frames, restorer, scene):
    clips = find_clips(write_frames("walk", [scene[:64, i : i + 96] for i in range(4)]))
    scores = list(degrade_and_compare(clips, restorer, degradation=Degradation(exposure=0.5)))
    assert [frame.index for frame in scores] == [0, 1]
    assert all(frame.bicubic.psnr > frame.restored.psnr > 20 for frame in scores)
    assert scores[0].tile_psnr is None


def test_tiles_are_compared_before_rounding(restorer):
    class DimmerRestorer(type(restorer)):
        def _enlarged(self, frame):
            restored = super()._enlarged(frame)
            object.__setattr__(restored, "image", restored.image - np.float32(0.1 / 255))
            return restored

    pairs = [DegradedFrame(flat(100, 16, 16), flat(100))] * 2
    frames = list(restore_frames(pairs, restorer, tiled_restorer=DimmerRestorer()))
    assert [frame.tile_psnr for frame in frames] == pytest.approx([20 * math.log10(2550)] * 2, abs=0.01)


def test_frames_are_taken_no_further_than_the_restorer_looks(restorer):
    taken = []

    def pairs():
        for index in range(50):
            taken.append(index)
            yield DegradedFrame(flat(100, 16, 16), flat(100))

    scores = score_frames("walk", restore_frames(pairs(), restorer))
    next(scores)
    assert taken == [0, 1]
    next(scores)
    assert taken == [0, 1, 2]


def test_a_perceptual_metric_is_asked_for_both_sides():
    frames = [RestoredFrame(flat(30), flat(10), flat(15, 16, 16))]
    (score,) = score_frames("walk", frames, extras=Extras(perceptual=lambda a, b: float(a.mean() - b.mean())))
    assert (score.restored.lpips, score.bicubic.lpips) == (20, 5)


def test_what_does_not_fit_together_is_refused_in_one_line(write_frames, restorer):
    three, two = (write_frames(f"n{count}", [flat(0)] * count) for count in (3, 2))
    short = MatchedClip(
        "walk", Clip("a", find_clips(three)[0].files, False), Clip("b", find_clips(two)[0].files, False)
    )
    with pytest.raises(EvaluationError, match=r"clip walk: .*n2.0000.png ends after 2 frames, the others go on"):
        list(compare_clips([short]))
    wide = write_frames("wide", [flat(0, 64, 68)] * 2)
    with pytest.raises(EvaluationError, match="clip n2, frame 0: sizes differ, restored 64x64, truth 68x64"):
        list(compare_clips(matched(two, wide)))
    with pytest.raises(EvaluationError, match="frame 0: the truth must be 4 times the input, got 68x64 for 64x64"):
        list(restore_and_compare(matched(two, wide), restorer))
