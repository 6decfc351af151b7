"""Means, JSON and CSV."""

from __future__ import annotations

import json
import math

import pytest

from fmanet_cli.errors import EvaluationError
from fmanet_cli.evaluation.metrics import FrameScores
from fmanet_cli.evaluation.report import Evaluation, to_json_text
from fmanet_cli.evaluation.scores import ScoredFrame


def scored(
    clip: str, index: int, psnr: float, tof: float | None = None, *, bicubic: float | None = None
) -> ScoredFrame:
    beside = None if bicubic is None else FrameScores(bicubic, 0.5, tof)
    shift = (1.0, 2.0, float(index))
    return ScoredFrame(clip, index, FrameScores(psnr, 0.9, tof), beside, shift, shift if beside else None)


def test_the_mean_is_over_frames_and_not_over_clips():
    frames = [scored("a", 0, 30), scored("a", 1, 32, 2), scored("a", 2, 34, 4), scored("b", 0, 40)]
    report = Evaluation(tuple(frames)).to_json()
    assert report == {
        "clips": {
            "a": {
                "psnr": 32,
                "ssim": 0.9,
                "tof": 3,
                "frames": [
                    {"psnr": 30, "ssim": 0.9},
                    {"psnr": 32, "ssim": 0.9, "tof": 2},
                    {"psnr": 34, "ssim": 0.9, "tof": 4},
                ],
            },
            "b": {"psnr": 40, "ssim": 0.9, "tof": None, "frames": [{"psnr": 40, "ssim": 0.9}]},
        },
        "mean": {"psnr": 34, "ssim": pytest.approx(0.9), "tof": 3},
    }


def test_bicubic_has_the_same_shape_beside():
    frames = [scored("a", 0, 30, bicubic=28), scored("a", 1, 32, 1, bicubic=29)]
    report = Evaluation(tuple(frames), settings={"model": "lite"}).to_json()
    assert set(report) == {"clips", "mean", "bicubic", "gain", "colour_shift", "settings", "summary"}
    assert report["bicubic"]["clips"]["a"]["frames"] == [{"psnr": 28, "ssim": 0.5}, {"psnr": 29, "ssim": 0.5, "tof": 1}]
    assert report["bicubic"]["mean"] == {"psnr": 28.5, "ssim": 0.5, "tof": 1}
    assert report["gain"] == 2.5
    assert report["colour_shift"] == [1, 2, 0.5]
    assert report["settings"] == {"model": "lite"}


def test_equal_frames_give_valid_json():
    text = to_json_text(Evaluation((scored("a", 0, math.inf), scored("a", 1, 30, 0))))
    report = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert report["clips"]["a"]["frames"][0]["psnr"] is None
    assert report["mean"]["psnr"] is None


def test_csv_has_a_row_a_frame_a_clip_and_one_for_all():
    frames = (scored("a", 0, 30, bicubic=28), scored("b", 0, 32, bicubic=29), scored("b", 1, 31, 0.25, bicubic=29))
    assert Evaluation(frames).to_csv().splitlines() == [
        "clip,frame,psnr,ssim,tof,bicubic_psnr,bicubic_ssim,bicubic_tof",
        "a,0,30,0.9,,28,0.5,",
        "b,0,32,0.9,,29,0.5,",
        "b,1,31,0.9,0.25,29,0.5,0.25",
        "a,mean,30.0,0.9,,28.0,0.5,",
        "b,mean,31.5,0.9,0.25,29.0,0.5,0.25",
        "mean,mean,31.0,0.9,0.25,28.666666666666668,0.5,0.25",
    ]


def test_an_empty_evaluation_is_refused():
    with pytest.raises(EvaluationError, match="no frame was compared"):
        Evaluation(())
