"""Frames that the network sees softened, because a camera has sharpened them."""

from __future__ import annotations

from typing import get_args

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from fmanet_cli.cli.options import _SOURCE_LOOKS
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.source_look import SOFTENING_SIGMA, SourceLook, as_seen
from fmanet_cli.errors import OptionError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.video.frames import Frame
from support.moving_frames import make_frames


def softened(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (3, 3), SOFTENING_SIGMA, borderType=cv2.BORDER_REPLICATE)


def restored(restorer: Restorer, frames: list[Frame], **options: object) -> list[np.ndarray]:
    run = restorer.start(40, 48, **options)  # type: ignore[arg-type]
    return [frame.image for frame in run.restore(frames)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_softening_is_a_gaussian_of_three_taps(dtype: torch.dtype) -> None:
    image = np.random.default_rng(1).random((9, 11, 3), np.float32)
    tensor = torch.from_numpy(image).permute(2, 0, 1).to(dtype)
    seen = as_seen(tensor, "camera")
    assert (seen.dtype, seen.shape) == (dtype, tensor.shape)
    expected = softened(tensor.float().permute(1, 2, 0).numpy())
    assert np.abs(seen.float().permute(1, 2, 0).numpy() - expected).max() < (1e-6 if dtype == torch.float32 else 1e-3)


def test_softening_keeps_what_is_flat_and_weakens_the_finest_stripes() -> None:
    flat, stripes = torch.full((3, 6, 8), 0.3), torch.tensor([0.0, 1.0]).repeat(3, 6, 4)
    assert torch.allclose(as_seen(flat, "camera"), flat)
    inside = as_seen(stripes, "camera")[..., 1:-1]
    assert inside.mean().item() == pytest.approx(0.5)
    assert inside.max() - inside.min() == pytest.approx(0.71, abs=0.01)


def test_a_plain_source_is_given_as_it_is() -> None:
    image = torch.rand(3, 8, 8)
    assert as_seen(image, "plain") is image


@pytest.mark.parametrize("tile", [0, 32])
def test_the_network_sees_softened_frames_and_the_rest_is_the_source(tiny_model: FMANet, tile: int) -> None:
    restorer = Restorer(tiny_model, device="cpu", precision="fp32", tile=tile)
    frames = list(make_frames(3, 40, 48))
    before = [Frame(softened(frame.image), frame.pts, frame.time_base, frame.duration) for frame in frames]
    plain, seen = restored(restorer, frames), restored(restorer, frames, source_look="camera")
    for expected, image, other in zip(restored(restorer, before), seen, plain, strict=True):
        assert np.abs(image - expected).max() < 1e-5
        assert np.abs(image - other).max() > 0.01
    unchanged = restored(restorer, frames, source_look="camera", strength=0)
    assert all(map(np.array_equal, unchanged, restored(restorer, frames, strength=0)))


def test_a_frame_of_one_pixel_can_be_softened() -> None:
    image: Tensor = torch.rand(3, 1, 1)
    assert torch.allclose(as_seen(image, "camera"), image)


def test_the_command_line_offers_every_look() -> None:
    assert get_args(SourceLook) == _SOURCE_LOOKS


def test_another_look_is_refused(tiny_model: FMANet) -> None:
    with pytest.raises(OptionError, match="plain or camera, got 'film'"):
        Restorer(tiny_model, device="cpu").start(40, 48, source_look="film")  # type: ignore[arg-type]
