"""A restored frame between the enlarged source and the network's frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.strength import blended
from fmanet_cli.errors import OptionError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.video.frames import Frame
from support.moving_frames import make_frames


def restored(restorer: Restorer, strength: float, **options: object) -> list[np.ndarray]:
    run = restorer.start(40, 48, strength=strength)
    return [frame.image for frame in run.restore(make_frames(3, 40, 48), **options)]  # type: ignore[arg-type]


def enlarged(frame: Frame) -> np.ndarray:
    return cv2.resize(frame.image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC).clip(0, 1)


@pytest.mark.parametrize(("order", "tile"), [("rgb", 0), ("bgr", 32)])
def test_a_share_of_the_networks_frame(tiny_model: FMANet, order: str, tile: int) -> None:
    tiny_model.colour_order = order  # type: ignore[assignment]
    restorer = Restorer(tiny_model, device="cpu", precision="fp32", tile=tile)
    full, none, some = (restored(restorer, strength) for strength in (1, 0, 0.25))
    for index, frame in enumerate(make_frames(3, 40, 48)):
        assert np.abs(none[index] - enlarged(frame)).max() < 1e-5
        assert np.abs(full[index] - none[index]).max() > 0.02
        assert np.abs(some[index] - (0.75 * none[index] + 0.25 * full[index])).max() < 1e-5


def test_full_strength_leaves_the_frame_as_it_is() -> None:
    image = torch.rand(3, 8, 8)
    assert blended(image, torch.rand(3, 2, 2), 1.0) is image


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_a_strength_outside_its_range_is_refused(tiny_model: FMANet, strength: float) -> None:
    with pytest.raises(OptionError, match="strength"):
        Restorer(tiny_model, device="cpu").start(40, 48, strength=strength)
