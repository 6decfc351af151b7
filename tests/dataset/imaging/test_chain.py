"""The chain as a whole, and mixtures as people write them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fmanet_cli.dataset.imaging.chain import ImagingLevels, image_clip
from fmanet_cli.dataset.imaging.coding import Coding
from fmanet_cli.dataset.imaging.mixture import (
    DEFAULT_SHARES,
    Mixture,
    RecordingClass,
    clean_mixture,
    mixture_from_json,
    read_mixture,
)
from fmanet_cli.dataset.imaging.reduction import reduce_image
from fmanet_cli.dataset.imaging.sensor import SensorNoise
from fmanet_cli.dataset.imaging.sharpening import Unsharp
from fmanet_cli.errors import OptionError


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    rng = np.random.default_rng(4)
    image = rng.random((160, 160, 3), np.float32) * 0.6 + 0.2
    return [np.ascontiguousarray(image[:128, 2 * t : 128 + 2 * t]) for t in range(3)]


def rng() -> np.random.Generator:
    return np.random.default_rng(9)


def test_nothing_but_the_reduction_by_default(frames):
    imaged = image_clip(frames, ImagingLevels(), rng())
    expected = reduce_image(np.stack(frames), (32, 32), "bicubic")
    assert imaged.frames.dtype == np.uint8 and imaged.frames.shape == (3, 32, 32, 3)
    assert np.abs(imaged.clean - expected).max() < 1e-6
    assert np.array_equal(imaged.frames, np.rint(expected * 255).astype(np.uint8))


def test_the_clean_frame_is_the_one_before_sensor_sharpening_and_codec(frames):
    levels = ImagingLevels(kernel="area", first_scale=1.5, unsharp=Unsharp(amount=1.0))
    spoilt = replace(levels, noise=SensorNoise(shot=2e-3), first_codec=Coding(quality=30), second_codec=Coding())
    plain, imaged = image_clip(frames, levels, rng()), image_clip(frames, spoilt, rng())
    assert np.array_equal(plain.clean, imaged.clean)
    softer = image_clip(frames, replace(levels, unsharp=None), rng())
    assert np.abs(softer.frames / np.float32(255) - plain.clean).max() <= 0.5 / 255 + 1e-6
    assert plain.frames.std() > softer.frames.std()


def test_a_file_made_larger_first_has_the_same_size_and_place(frames):
    imaged = image_clip(frames, ImagingLevels(kernel="area", first_scale=1.7), rng())
    direct = image_clip(frames, ImagingLevels(kernel="area"), rng())
    assert imaged.frames.shape == direct.frames.shape
    assert np.corrcoef(imaged.frames.ravel(), direct.frames.ravel())[0, 1] > 0.8


def test_levels_walk_slowly_and_can_stand_still(frames):
    levels = ImagingLevels(unsharp=Unsharp(amount=1.0), walks=True)
    same = [frames[0]] * 6
    walking = image_clip(same, levels, rng()).frames.astype(int)
    steps = np.abs(np.diff(walking, axis=0)).mean()
    assert 0 < steps < 2
    still = image_clip(same, replace(levels, walks=False), rng()).frames
    assert all(np.array_equal(still[0], frame) for frame in still)
    flickering = image_clip(same, ImagingLevels(flicker=0.02), rng()).frames.mean((1, 2, 3))
    assert 0.5 < flickering.std() < 6


def test_classes_come_in_their_shares():
    mixture, draw = Mixture(), rng()
    drawn = [mixture.draw_class(draw) for _ in range(2000)]
    for name, share in DEFAULT_SHARES.items():
        assert sum(found is mixture.classes[name] for found in drawn) / 2000 == pytest.approx(share, abs=0.04)


def test_steps_are_drawn_with_their_own_gates_from_their_ranges():
    camera, draw = Mixture().classes["camera"], rng()
    drawn = [camera.draw_levels(draw) for _ in range(1500)]
    for name, share in {"optics": 0.7, "noise": 0.6, "unsharp": 0.75, "first_codec": 0.7, "second_codec": 0.1}.items():
        assert np.mean([getattr(levels, name) is not None for levels in drawn]) == pytest.approx(share, abs=0.05)
    amounts = [levels.unsharp.amount for levels in drawn if levels.unsharp]
    assert 0.15 <= min(amounts) < 0.2 and 1.45 < max(amounts) <= 1.5
    shots = [levels.noise.shot for levels in drawn if levels.noise]
    assert np.median(shots) == pytest.approx((1e-4 * 4e-3) ** 0.5, rel=0.2)
    assert np.mean([levels.kernel == "area" for levels in drawn]) == pytest.approx(0.4, abs=0.05)
    untouched = [levels for levels in drawn if not (levels.unsharp or levels.noise or levels.first_codec)]
    assert 0.01 < len(untouched) / 1500 < 0.06


def test_every_default_class_makes_clips(frames):
    for recordings in Mixture().classes.values():
        draw = rng()
        for _ in range(4):
            imaged = image_clip(frames, recordings.draw_levels(draw), draw)
            assert imaged.frames.shape == (3, 32, 32, 3)


def test_a_mixture_as_people_write_it(tmp_path):
    assert read_mixture("clean=25, camera=75").shares == {"clean": 25.0, "camera": 75.0}
    assert read_mixture("off") == clean_mixture()
    path = tmp_path / "mine.json"
    changes = {"unsharp_amount": [0.2, 0.6], "kernels": {"area": 1}, "first_codec_share": 0.5,
               "first_codecs": [{"codec": "mpeg4", "quality": [3, 5]}]}  # fmt: skip
    path.write_text(json.dumps({"shares": {"camera": 1}, "light_curves": {"srgb": 1}, "camera": changes}))
    mixture = read_mixture(str(path))
    camera = mixture.draw_class(rng())
    assert (camera.unsharp_amount, camera.kernels, camera.first_codecs[0].quality) == ((0.2, 0.6), {"area": 1}, (3, 5))
    assert camera.unsharp_sigma == RecordingClass().unsharp_sigma
    assert mixture.draw_light_curve(rng()) == "srgb"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: read_mixture("clean=much"), "shares are written as clean=25,camera=75, got 'clean=much'"),
        (lambda: read_mixture("drone=5"), "shares of a mixture needs numbers .* of clean, camera, phone, social, old"),
        (lambda: read_mixture("/dev/zero"), "cannot read the mixture /dev/zero: it is longer than 64 MiB"),
        (lambda: read_mixture("missing.json"), "cannot read the mixture missing.json: No such file"),
        (lambda: mixture_from_json([]), "a mixture is a JSON object"),
        (lambda: mixture_from_json({"drone": {}}), "the classes clean, .*, not 'drone'"),
        (lambda: mixture_from_json({"camera": {"blur": 1}}), "class camera of a mixture has no 'blur'; it has "),
        (lambda: mixture_from_json({"camera": {"unsharp_amount": [2, 9]}}), "unsharp_amount must be a range inside 0"),
        (lambda: mixture_from_json({"camera": {"noise_share": 3}}), "noise_share is a probability from 0 to 1, got 3"),
        (lambda: mixture_from_json({"camera": {"kernels": {"magic": 1}}}), "kernels needs shares of area, "),
        (lambda: mixture_from_json({"old": {"first_codecs": []}}), "first_codec_share asks for a codec"),
        (lambda: mixture_from_json({"old": {"first_codecs": 3}}), "class old of a mixture: "),
        (lambda: mixture_from_json({"shares": 3}), "map names to numbers"),
    ],
)
def test_what_a_mixture_cannot_be(make, message):
    with pytest.raises(OptionError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
