"""What harm is done, frame by frame."""

from __future__ import annotations

import json

import pytest

from fmanet_cli.dataset.clips import find_sharp_clips
from fmanet_cli.evaluation.evaluate import record_and_compare
from fmanet_cli.evaluation.metrics import FrameScores
from fmanet_cli.evaluation.report import Evaluation, to_json_text
from fmanet_cli.evaluation.scores import ScoredFrame
from fmanet_cli.evaluation.summary import summaries, summarise


def scored(gain: float, *, shift: float = 0.0, condition: str = "") -> ScoredFrame:
    return ScoredFrame(
        "clip",
        0,
        FrameScores(30.0 + gain, 0.9, overshoot=0.02, flicker=1.0),
        FrameScores(30.0, 0.9, overshoot=0.01),
        colour_shift=(shift, shift, -shift),
        bicubic_colour_shift=(0.0, 0.0, 0.0),
        condition=condition,
    )


def test_harm_counts_frames_below_bicubic_and_not_means():
    summary = summarise([scored(gain) for gain in (2.0, 1.0, -0.04, -0.06)])
    assert summary.gain == pytest.approx(0.725)
    assert summary.harm == 0.25
    assert summary.low_gain == pytest.approx(-0.057)
    assert summary.overshoot == 0.02 and summary.bicubic_overshoot == 0.01
    assert summary.flicker == 1.0 and summary.bicubic_flicker is None


def test_shifts_are_means_of_signed_values():
    summary = summarise([scored(1.0, shift=1.0), scored(1.0, shift=-0.5)])
    assert summary.colour_shift == pytest.approx(0.25)
    assert summary.luma_shift == pytest.approx(0.25 * (0.299 + 0.587 - 0.114))


def test_recorded_clips_are_scored_by_condition_after_they_settle(write_frames, scene, restorer):
    clips = find_sharp_clips([write_frames("photo", [scene])])
    scores = tuple(record_and_compare(clips, restorer, presets=["camera"], frame_limit=6, size_limit=96))
    report = json.loads(to_json_text(Evaluation(scores)))
    assert list(report["summary"]) == ["all", "still", "exposure 0.05", "exposure 0.5"]
    assert [part["frames"] for part in report["summary"].values()] == [9, 3, 3, 3]
    assert list(report["input_digests"]) == ["photo, still", "photo, exposure 0.05", "photo, exposure 0.5"]
    # The stand-in restores by bicubic and adds 2 code values.
    still = report["summary"]["still"]
    assert still["luma_shift"] - still["bicubic_luma_shift"] == pytest.approx(2, abs=0.05)
    assert still["flicker"] == pytest.approx(still["bicubic_flicker"], abs=0.1)


def test_several_presets_are_told_apart(write_frames, scene, restorer):
    clips = find_sharp_clips([write_frames("one", [scene]), write_frames("two", [scene])])
    presets = ("moving-sharp", "unsharp-0.4")
    scores = tuple(record_and_compare(clips, restorer, presets=presets, frame_limit=4, size_limit=96))
    report = Evaluation(scores).to_json()
    moving, still = "moving-sharp, exposure 0", "unsharp-0.4, still"
    assert list(report["summary"]) == ["all", "moving-sharp", moving, "unsharp-0.4", still]
    assert [part["frames"] for part in report["summary"].values()] == [4, 2, 2, 2, 2]
    assert list(report["clips"]) == [f"{clip}, {condition}" for condition in (moving, still) for clip in ("one", "two")]
    alone = summaries([frame for frame in scores if frame.preset == "unsharp-0.4"])
    assert report["summary"]["unsharp-0.4"] == alone["all"].to_json()
