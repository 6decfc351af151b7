"""VMAF-NEG and XPSNR, by the FFmpeg of imageio-ffmpeg where it is installed."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fmanet_cli.errors import EvaluationError, OptionError
from fmanet_cli.evaluation.evaluate import RestoredFrame, score_frames
from fmanet_cli.evaluation.extras import Extras
from fmanet_cli.evaluation.report import Evaluation
from fmanet_cli.evaluation.vmaf import VideoMetric


def test_without_the_package_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(OptionError, match=r"VMAF needs the package imageio-ffmpeg: pip install .*\[vmaf\]"):
        VideoMetric()


def test_an_ffmpeg_without_the_filter_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho ' .. psnr  VV->V '\n")
    program.chmod(0o755)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", SimpleNamespace(get_ffmpeg_exe=lambda: str(program)))
    with pytest.raises(OptionError, match="ffmpeg has no filter libvmaf"):
        VideoMetric()


@pytest.fixture
def metric() -> VideoMetric:
    pytest.importorskip("imageio_ffmpeg", reason="needs the extra vmaf")
    return VideoMetric()


def walk(scene: np.ndarray, count: int = 4) -> list[np.ndarray]:
    return [np.ascontiguousarray(scene[:96, 4 * index : 4 * index + 160]) for index in range(count)]


def test_each_frame_and_side_gets_its_own_figures(metric: VideoMetric, scene: np.ndarray) -> None:
    truth = walk(scene)
    good = [truth[0], *(cv2.GaussianBlur(image, (0, 0), 1) for image in truth[1:])]
    small = [cv2.resize(image, (40, 24), interpolation=cv2.INTER_AREA) for image in truth]
    frames = (RestoredFrame(a, b, c) for a, b, c in zip(good, truth, small, strict=True))
    scores = list(score_frames("walk", frames, extras=Extras(video=metric)))
    assert [score.index for score in scores] == [0, 1, 2, 3]
    assert scores[0].restored.xpsnr == math.inf
    for score in scores[1:]:
        assert 0 <= score.bicubic.vmaf_neg < score.restored.vmaf_neg <= 100
        assert 10 < score.bicubic.xpsnr < score.restored.xpsnr < 60
    report = Evaluation(tuple(scores)).to_json()
    assert report["mean"]["vmaf_neg"] > report["bicubic"]["mean"]["vmaf_neg"]
    json.dumps(report, allow_nan=False)


def test_a_frame_of_another_size_is_refused_and_nothing_stays(metric: VideoMetric, scene: np.ndarray) -> None:
    with metric.clip() as clip, pytest.raises(EvaluationError, match="clips of one size, and a frame of 80x48 came"):
        clip.add(scene[:96, :160], scene[:96, :160])
        clip.add(scene[:48, :80], scene[:48, :80])
    assert clip._process.poll() is not None
    assert not clip._folder.exists()
    with metric.clip() as clip, pytest.raises(EvaluationError, match="VMAF needs frames of 32 pixels, got 16x16"):
        clip.add(scene[:16, :16], scene[:16, :16])
