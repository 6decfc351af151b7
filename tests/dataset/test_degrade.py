"""Sharp clips made blurry and small."""

from __future__ import annotations

import numpy as np
import pytest

from fmanet_cli.dataset.clips import find_sharp_clips
from fmanet_cli.dataset.degrade import Degradation, degrade_clip, expected_count, record_clip
from fmanet_cli.dataset.imaging.presets import PRESETS
from fmanet_cli.dataset.resampling import enlarge, shrink
from fmanet_cli.errors import EvaluationError, OptionError


@pytest.fixture
def walk(write_frames, scene):
    """A clip of five frames that moves by 8 pixels a frame."""
    return find_sharp_clips([write_frames("walk", [scene[:99, 8 * i : 8 * i + 130] for i in range(5)])])[0]


@pytest.fixture
def photograph(write_frames, scene):
    return find_sharp_clips([write_frames("photo", [scene])])[0]


def test_a_clip_is_blurred_along_its_motion(walk, scene):
    frames = list(degrade_clip(walk, Degradation()))
    assert len(frames) == 3
    assert np.array_equal(frames[0].truth, scene[1:97, 9:137])
    assert frames[0].blurry.shape == (24, 32, 3)
    sharp = shrink(frames[0].truth).astype(int)
    assert np.abs(frames[0].blurry.astype(int) - sharp).mean() > 3
    smeared = np.mean([shrink(scene[1:97, 9 + shift : 137 + shift]) for shift in range(-3, 4)], axis=0)
    assert np.abs(frames[0].blurry - smeared)[2:-2, 4:-4].mean() < 1.5


def test_limits_of_frames_and_size(walk):
    frames = list(degrade_clip(walk, Degradation(frame_limit=2, size_limit=66)))
    assert [frame.truth.shape for frame in frames] == [(64, 64, 3)] * 2
    assert expected_count(walk, Degradation(frame_limit=2)) == 2
    assert expected_count(walk, Degradation()) is None


def test_a_photograph_is_filmed_the_same_way_for_the_same_seed(photograph):
    settings = Degradation(frame_limit=3, seed=7)
    first, again, other = (list(degrade_clip(photograph, s)) for s in (settings, settings, Degradation(frame_limit=3)))
    assert [frame.truth.shape for frame in first] == [(120, 168, 3)] * 3
    assert all(np.array_equal(a.blurry, b.blurry) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].truth, other[0].truth)
    assert expected_count(photograph, Degradation()) == len(list(degrade_clip(photograph, Degradation()))) == 8


def test_without_motion_the_first_frame_stays(walk, photograph, scene):
    for clip, truth in ((walk, scene[1:97, 1:129]), (photograph, scene)):
        frames = list(degrade_clip(clip, Degradation(still=True)))
        assert len(frames) == expected_count(clip, Degradation(still=True)) == 3
        assert all(np.array_equal(frame.truth, truth) for frame in frames)
        assert all(np.array_equal(frame.blurry, shrink(truth)) for frame in frames)


def test_the_blurry_frame_lies_on_the_truth(photograph):
    frame = next(degrade_clip(photograph, Degradation(exposure=0)))
    shifted = [np.abs(np.roll(enlarge(frame.blurry), s, axis=1).astype(int) - frame.truth).mean() for s in (-1, 0, 1)]
    assert shifted[1] == min(shifted)


def test_clips_that_cannot_be_degraded(write_frames):
    (short,) = find_sharp_clips([write_frames("short", [np.zeros((64, 64, 3))] * 2)])
    with pytest.raises(EvaluationError, match="clip short has too few frames to blur"):
        list(degrade_clip(short, Degradation()))
    (tiny,) = find_sharp_clips([write_frames("tiny", [np.zeros((60, 80, 3))] * 3)])
    with pytest.raises(EvaluationError, match="clip tiny is too small: 80x60, at least 64 a side"):
        list(degrade_clip(tiny, Degradation()))
    (small,) = find_sharp_clips([write_frames("small", [np.zeros((100, 100, 3))])])
    with pytest.raises(EvaluationError, match="photograph small is too small to be filmed: 100x100"):
        list(degrade_clip(small, Degradation()))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"exposure": 1.5}, "exposure must be between 0 and 1 of the frame interval, got exposure=1.5"),
        ({"stride": 0}, "stride must be at least 1, got stride=0"),
        ({"size_limit": 63}, "size_limit must be at least 64, got size_limit=63"),
    ],
)
def test_impossible_settings(setting, message):
    with pytest.raises(OptionError, match=message):
        Degradation(**setting)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_records_every_condition_the_same_way_each_time(preset, photograph, walk):
    first, again = (list(record_clip(photograph, preset, frame_limit=4, size_limit=100)) for _ in range(2))
    assert [clip.digest for clip in first] == [clip.digest for clip in again]
    assert len(first) == len(PRESETS[preset].exposures)
    for clip, exposure in zip(first, PRESETS[preset].exposures, strict=True):
        assert (clip.condition == "still") == (exposure is None)
        assert [frame.truth.shape for frame in clip.frames] == [(96, 96, 3)] * 4
        assert [frame.blurry.shape for frame in clip.frames] == [(24, 24, 3)] * 4
    assert len(list(record_clip(walk, preset, frame_limit=3, size_limit=96))[-1].frames) == 3


def test_presets_sharpen_still_clips_and_move_the_others(photograph):
    (sharpened,) = record_clip(photograph, "unsharp-0.8", frame_limit=2)
    (moving,) = record_clip(photograph, "moving-sharp", frame_limit=2)
    assert np.array_equal(sharpened.frames[0].truth, sharpened.frames[1].truth)
    assert not np.array_equal(moving.frames[0].truth, moving.frames[1].truth)
    assert np.abs(moving.frames[0].blurry.astype(int) - shrink(moving.frames[0].truth)).max() <= 1
    plain = shrink(sharpened.frames[0].truth)
    assert sharpened.frames[0].blurry.std() > 1.1 * plain.std()


def test_an_unknown_preset_is_refused(photograph):
    with pytest.raises(OptionError, match="there is no preset 'drone'; choose from clean, camera, phone"):
        list(record_clip(photograph, "drone"))
