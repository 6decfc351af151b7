"""Camera paths."""

from __future__ import annotations

import pytest
import torch

from fmanet_cli.training.motion import MotionRange, draw_paths, invert_affine


def test_at_time_zero_nothing_has_moved():
    paths = draw_paths(16, MotionRange(), torch.Generator().manual_seed(1))
    identity = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    torch.testing.assert_close(paths.affine(torch.zeros(16, 1))[:, 0], identity.expand(16, 2, 3))


def test_speeds_fill_the_range_evenly_on_a_logarithmic_scale():
    paths = draw_paths(4000, MotionRange(slowest=0.5, fastest=32.0), torch.Generator().manual_seed(2))
    speed = paths.velocity.norm(dim=1)
    moving = speed[speed > 0]
    assert 0.05 < 1 - len(moving) / 4000 < 0.11
    assert float(moving.min()) >= 0.5
    assert float(moving.max()) <= 32.001
    assert float(moving.median()) == pytest.approx(4.0, rel=0.15)


def test_inverse_undoes_an_affine_map():
    affine = draw_paths(5, MotionRange(), torch.Generator().manual_seed(3)).affine(torch.tensor([[1.2]]).expand(5, 1))
    inverse = invert_affine(affine)
    point = torch.tensor([[3.0], [-7.0]])
    moved = affine[..., :2] @ point + affine[..., 2:]
    torch.testing.assert_close(inverse[..., :2] @ moved + inverse[..., 2:], point.expand(5, 1, 2, 1), atol=1e-4, rtol=0)


def test_an_impossible_range_is_refused():
    with pytest.raises(ValueError, match=r"slowest must be positive and at most fastest, got 3\.0 and 2\.0"):
        MotionRange(slowest=3.0, fastest=2.0)
