"""Sensor noise and codec artefacts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from fmanet_cli.training.artefacts import add_codec_artefacts, add_sensor_noise


def scene(height: int = 32, width: int = 48) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    coarse = torch.rand(1, 3, 6, 8, generator=generator)
    image = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    return (image + 0.03 * torch.randn(image.shape, generator=generator)).clamp(0, 1)[:, :, None]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(1 / np.mean((a - b) ** 2)))


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_artefacts_are_like_those_of_a_jpeg_encoder(quality):
    image = scene()
    coded = add_codec_artefacts(image, torch.tensor([float(quality)]))
    array = (image[0, :, 0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    _, data = cv2.imencode(".jpg", array[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    reference = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255
    ours = coded[0, :, 0].permute(1, 2, 0).numpy()
    assert psnr(ours, reference) > psnr(array / 255, reference)
    assert psnr(ours, array / 255) == pytest.approx(psnr(reference, array / 255), abs=1.0)


def test_the_finest_quality_changes_little_and_any_origin_keeps_the_size():
    image = scene(30, 41)
    for origin in [(0, 0), (3, 7)]:
        coded = add_codec_artefacts(image, torch.tensor([100.0]), origin=origin)
        assert coded.shape == image.shape
        luma_difference = torch.einsum("bcthw,c->bthw", coded - image, torch.tensor([0.299, 0.587, 0.114]))
        assert float(luma_difference.abs().max()) < 0.02


def test_noise_has_the_asked_strength_and_none_at_zero():
    grey = torch.full((2, 3, 3, 40, 40), 0.5)
    noisy = add_sensor_noise(grey, torch.tensor([0.0, 0.02]), generator=torch.Generator().manual_seed(1))
    assert torch.equal(noisy[0], grey[0])
    assert float((noisy[1] - 0.5).std()) == pytest.approx(0.02 * (0.3 + 0.7 * 0.5**0.5), rel=0.05)
