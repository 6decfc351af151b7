"""Each step of the imaging chain does what it says: to the spectrum, the variance, the mean."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fmanet_cli.dataset.imaging.coding import Coding
from fmanet_cli.dataset.imaging.light import LIGHT_CURVES, raise_highlights, to_code, to_light
from fmanet_cli.dataset.imaging.optics import Optics
from fmanet_cli.dataset.imaging.reduction import KERNELS, reduce_image
from fmanet_cli.dataset.imaging.sensor import LUMA_WEIGHTS, FilmGrain, SensorNoise, typical_read_noise
from fmanet_cli.dataset.imaging.sharpening import Unsharp
from fmanet_cli.errors import OptionError
from fmanet_cli.video.write.coding_loss import code_frames, has_encoder


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """(128, 128, 3) float32: detail at all scales, values in 0.2 to 0.8."""
    rng = np.random.default_rng(5)
    image = sum(
        cv2.resize(rng.random((cells, cells, 3), np.float32), (128, 128), interpolation=cv2.INTER_CUBIC)
        for cells in (8, 24, 64, 128)
    )
    return cv2.normalize(image, None, 0.2, 0.8, cv2.NORM_MINMAX)


def wave(cycles: float, length: int = 128, contrast: float = 0.2) -> np.ndarray:
    """(length, length, 3) grey waves along x."""
    line = 0.5 + contrast * np.cos(2 * np.pi * cycles * np.arange(length) / length)
    return np.broadcast_to(line[None, :, None], (length, length, 3)).astype(np.float32)


def contrast(image: np.ndarray) -> float:
    return float(image[image.shape[0] // 2, :, 0].std())


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((np.asarray(a, np.float64) - b) ** 2)))


@pytest.mark.parametrize("curve", LIGHT_CURVES)
def test_light_curves_are_undone_and_order_the_brightness_of_an_average(curve):
    values = np.linspace(0, 1, 256, dtype=np.float32)
    assert np.abs(to_code(to_light(values, curve), curve) - values).max() < 2e-3
    edge = to_code((to_light(np.float32([0.2]), curve) + to_light(np.float32([0.8]), curve)) / 2, curve)
    assert float(edge[0]) == pytest.approx({"code": 0.5, "gamma": 0.596, "srgb": 0.600, "tone": 0.576}[curve], abs=2e-3)


def test_highlights_stay_white_when_they_are_smeared():
    light = np.zeros((1, 10, 3), np.float32)
    light[:, 4:6] = 1
    plain, bright = (to_code(image.mean(axis=1), "gamma").mean() for image in (light, raise_highlights(light, 1.5)))
    assert plain == pytest.approx(0.2 ** (1 / 2.2), abs=1e-3)
    assert bright == pytest.approx(0.5 ** (1 / 2.2), abs=1e-3)
    assert raise_highlights(np.float32([0.94]), 1.0) == np.float32(0.94)


@pytest.mark.parametrize("sigma", [0.5, 1.6, 3.0])
def test_a_gaussian_lens_has_a_gaussian_spectrum_and_keeps_the_mean(sigma, scene):
    cycles = 12
    lens = Optics(sigma=sigma)
    expected = np.exp(-2 * (np.pi * sigma * cycles / 128) ** 2)
    assert contrast(lens.blur(wave(cycles))) / contrast(wave(cycles)) == pytest.approx(expected, abs=0.02)
    assert np.abs(lens.blur(scene).mean((0, 1)) - scene.mean((0, 1))).max() * 255 < 0.3


def test_a_stretched_lens_blurs_along_its_longer_axis():
    along = Optics(sigma=2.0, ratio=2.0).blur(wave(12))
    across = Optics(sigma=2.0, ratio=2.0, angle=np.pi / 2).blur(wave(12))
    assert contrast(along) / contrast(wave(12)) == pytest.approx(np.exp(-2 * (np.pi * 2 * 12 / 128) ** 2), abs=0.02)
    assert contrast(across) / contrast(wave(12)) == pytest.approx(np.exp(-2 * (np.pi * 1 * 12 / 128) ** 2), abs=0.02)


def test_a_missed_focus_spreads_a_point_to_a_disc():
    point = np.zeros((41, 41, 3), np.float32)
    point[20, 20] = 1
    seen = Optics(disc_radius=4.0).blur(point)[..., 0]
    assert seen.sum() == pytest.approx(1, abs=1e-4)
    assert seen[20, 23] == pytest.approx(seen[20, 20]) and seen[20, 26] == 0


@pytest.mark.parametrize("kernel", KERNELS)
def test_reduction_keeps_the_mean_and_the_places(kernel, scene):
    small = reduce_image(scene, (32, 32), kernel)
    assert np.abs(small.mean((0, 1)) - scene.mean((0, 1))).max() * 255 < 0.6
    line = np.broadcast_to(np.arange(128, dtype=np.float32)[None, :, None], (128, 128, 3))
    ramp = reduce_image(np.ascontiguousarray(line), (32, 32), kernel)
    assert np.abs(ramp[16, 4:-4, 0] - (4 * np.arange(4, 28) + 1.5)).max() < 1e-3


def test_reduction_kernels_keep_detail_in_their_order():
    kept = {kernel: contrast(reduce_image(wave(12), (32, 32), kernel)) / contrast(wave(12)) for kernel in KERNELS}
    assert kept["bilinear"] < kept["bicubic"] < kept["sharp-bicubic"] < 1.05
    assert kept["bilinear"] < kept["area"] and kept["bicubic"] < kept["lanczos"]
    assert kept["area"] == pytest.approx(np.sinc(4 * 12 / 128), abs=0.02)


def test_bicubic_reduction_is_that_of_torch_away_from_the_border(scene):
    batch = torch.from_numpy(scene).permute(2, 0, 1)[None]
    theirs = F.interpolate(batch, size=(32, 32), mode="bicubic", antialias=True)[0].permute(1, 2, 0).numpy()
    assert np.abs(reduce_image(scene, (32, 32), "bicubic") - theirs)[2:-2, 2:-2].max() < 1e-4


def test_area_reduction_works_for_any_ratio(scene):
    assert reduce_image(scene, (48, 50), "area").shape == (48, 50, 3)
    with pytest.raises(ValueError, match="a reduction cannot enlarge: got 128 to 130 pixels"):
        reduce_image(scene, (130, 128), "area")


def test_sensor_noise_has_the_variance_of_its_light():
    rng = np.random.default_rng(1)
    for code in (0.3, 0.7):
        grey = np.full((200, 200, 3), code, np.float32)
        noise = SensorNoise(shot=1e-3, read=1e-5).add(grey, rng) - grey
        light = ((code + 0.055) / 1.055) ** 2.4
        slope = 1.055 / 2.4 * light ** (1 / 2.4 - 1)
        assert noise.std() == pytest.approx(slope * np.sqrt(1e-3 * light + 1e-5), rel=0.05)
        assert abs(noise.mean()) * 255 < 0.5
    assert typical_read_noise(1e-3) == pytest.approx(np.exp(2.18 * np.log(1e-3) + 1.2))


def test_noise_differs_from_frame_to_frame_and_its_chroma_can_be_turned_down():
    rng = np.random.default_rng(2)
    grey = np.full((64, 64, 3), 0.5, np.float32)
    noise = SensorNoise(shot=2e-3, chroma=0.0)
    first, second = noise.add(grey, rng), noise.add(grey, rng)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
    assert np.abs(first - first[..., :1]).max() < 1e-5


def test_denoising_takes_the_high_frequencies_of_the_noise_and_not_of_the_image(scene):
    rng = np.random.default_rng(3)
    plain = SensorNoise(shot=1e-3).add(scene, np.random.default_rng(3)) - scene
    denoised = SensorNoise(shot=1e-3, denoise_luma=0.9, denoise_chroma=0.9).add(scene, rng) - scene
    # A Gaussian of sigma s keeps 1 / (4 pi s^2) of the variance of white noise.
    assert denoised.var() / plain.var() == pytest.approx(1 / (4 * np.pi * 0.9**2), rel=0.15)
    soft = SensorNoise(shot=1e-8, read=0, denoise_luma=0.9, denoises_image=True).add(scene, rng)
    assert soft.var() < 0.97 * scene.var()


def test_grain_is_grey_and_as_strong_as_asked():
    grey = np.full((128, 128, 3), 0.5, np.float32)
    grained = FilmGrain(sigma=6.0, correlation=0.7).add(grey, np.random.default_rng(1)) - grey
    assert grained.std() * 255 == pytest.approx(6.0, rel=0.03)
    assert np.array_equal(grained[..., 0], grained[..., 2])
    neighbours = np.corrcoef(grained[:, 1:, 0].ravel(), grained[:, :-1, 0].ravel())[0, 1]
    assert neighbours == pytest.approx(np.exp(-1 / (4 * 0.7**2)), abs=0.06)


@pytest.mark.parametrize(("amount", "sigma"), [(0.4, 1.0), (1.2, 1.6)])
def test_the_unsharp_mask_has_its_gain_and_keeps_the_mean(amount, sigma, scene):
    cycles = 20
    sharpened = Unsharp(amount=amount, sigma=sigma).sharpen(wave(cycles))
    gain = 1 + amount * (1 - np.exp(-2 * (np.pi * sigma * cycles / 128) ** 2))
    assert contrast(sharpened) / contrast(wave(cycles)) == pytest.approx(gain, rel=0.02)
    assert np.abs(Unsharp(amount=amount, sigma=sigma).sharpen(scene).mean((0, 1)) - scene.mean((0, 1))).max() < 1e-3


def test_unsharp_on_luma_keeps_differences_of_colour_and_coring_and_limit_bound_it(scene):
    added = Unsharp(amount=1.0, luma_only=True).sharpen(scene) - scene
    assert np.abs(added - added[..., :1]).max() < 1e-6
    faint = wave(20, contrast=1.5 / 255)
    assert np.array_equal(Unsharp(amount=1.0, coring=3.0).sharpen(faint), faint)
    limited = Unsharp(amount=3.0, limit=8.0).sharpen(scene) - scene
    assert np.abs(limited).max() * 255 == pytest.approx(8.0, abs=1e-3)


CODECS = [("libx264", (18, 28, 36)), ("mpeg2video", (2, 6, 14)), ("mpeg4", (2, 6, 14)), ("mjpeg", (2, 6, 14))]


def moving(scene: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(scene[8:56, 8 + 2 * t : 56 + 2 * t]) for t in range(7)]


@pytest.mark.parametrize(("codec", "ladder"), CODECS)
def test_a_coarser_codec_loses_more_and_keeps_the_mean(codec, ladder, scene):
    if not has_encoder(codec):
        pytest.skip(f"this FFmpeg has no {codec}")
    soft = [cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in moving(scene)]
    losses = []
    for quality in ladder:
        coded = Coding(codec=codec, quality=quality).code(soft)
        losses.append(psnr(coded, np.stack(soft)))
        assert abs(np.mean((np.stack(coded) - soft) @ LUMA_WEIGHTS)) * 255 < 1.5
    assert losses[0] > losses[1] + 1 > losses[2] + 2
    assert losses[0] > 30


def test_without_loss_the_conversion_alone_shifts_no_colour(scene):
    soft = [cv2.GaussianBlur(frame, (0, 0), 2) for frame in moving(scene)]
    coded = code_frames(soft, codec="libx264", options={"crf": "0"})
    assert np.abs(np.mean(np.stack(coded) - soft, axis=(0, 1, 2))).max() * 255 < 0.1
    assert psnr(coded, np.stack(soft)) > 40


def test_a_codec_gives_the_same_frames_whatever_lay_in_memory(scene):
    rng = np.random.default_rng(3)
    noisy = [np.tile(frame, (2, 2, 1))[:96, :96] for frame in moving(scene)]
    noisy = [(frame + 0.05 * rng.standard_normal(frame.shape)).clip(0, 1).astype(np.float32) for frame in noisy]
    first = np.stack(Coding(quality=22, b_frames=3).code(noisy))
    for _ in range(25):
        for _ in range(10):
            rng.random((int(rng.integers(10, 300)), 60))
        assert np.array_equal(np.stack(Coding(quality=22, b_frames=3).code(noisy)), first)


def test_what_no_codec_can_do_is_refused_in_one_line(scene):
    with pytest.raises(OptionError, match=r"codec must be one of libx264, .*got 'theora'"):
        Coding(codec="theora")
    with pytest.raises(OptionError, match="the quality of mpeg4 is from 2 to 31, got 40"):
        Coding(codec="mpeg4", quality=40)
    with pytest.raises(OptionError, match="no encoder nothing; choose another codec"):
        code_frames(moving(scene), codec="nothing", options={})
    with pytest.raises(OptionError, match="frames to be coded need even sides, got 47x48"):
        code_frames([frame[:, 1:] for frame in moving(scene)], codec="libx264", options={})
    with pytest.raises(OptionError, match="libx264 refuses frames of 48x48"):
        code_frames(moving(scene), codec="libx264", options={"preset": "hasty"})
