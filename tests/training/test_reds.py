"""Windows from the authors' folder layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fmanet_cli.errors import TrainingError
from fmanet_cli.model.filtering import backward_warp
from fmanet_cli.training.reds import RedsOptions, RedsWindows
from fmanet_cli.training.windows import downscale_window
from fmanet_cli.video.read.images import write_image

OPTIONS = RedsOptions(window_pixels=8, batch_windows=4)


def write_clip(root: Path, name: str, *, frames: int = 4) -> None:
    """A scene that moves one low-resolution pixel to the left a frame, with its exact flows."""
    generator = torch.Generator().manual_seed(7)
    scene = torch.nn.functional.interpolate(
        torch.rand(1, 3, 14, 18, generator=generator), size=(48, 80), mode="bicubic"
    )
    for t in range(frames):
        sharp = scene[..., 4 * t : 4 * t + 64].clamp(0, 1)
        for folder, image in (
            ("train_sharp", sharp),
            ("train_blur_bicubic/X4", downscale_window(sharp[:, :, None])[:, :, 0]),
        ):
            path = root / folder / name
            path.mkdir(parents=True, exist_ok=True)
            write_image(path / f"{t:08d}.png", image[0].permute(1, 2, 0).numpy())
        flows = root / "train_flow_bicubic/X4" / name
        flows.mkdir(parents=True, exist_ok=True)
        for other in (t - 1, t + 1):
            flow = np.zeros((12, 16, 2), np.float32)
            flow[..., 0] = t - other
            np.save(flows / f"{t:08d}_{other:08d}.npy", flow)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_clip(tmp_path, "001")
    return tmp_path


def test_crops_and_mirrors_keep_frames_and_flows_together(root):
    source = RedsWindows(root, OPTIONS, seed=1)
    directions = set()
    for index in range(3):
        batch = source.batch(index)
        small = downscale_window(batch.sharp)
        inner = (..., slice(2, -2), slice(2, -2))
        assert float((small - batch.blurry)[inner].abs().max()) < 0.02
        for t in (0, 2):
            warped = backward_warp(small[:, :, t], batch.flow[:, :, t])
            assert float((warped - small[:, :, 1])[inner].abs().mean()) < 0.02
        assert torch.equal(batch.flow[:, :, 1], torch.zeros(4, 2, 8, 8))
        directions |= set(batch.flow[:, 0, 0, 0, 0].tolist())
    assert directions == {1.0, -1.0}


def test_the_test_clips_are_left_out(root):
    write_clip(root, "011")
    assert [clip.name for clip in RedsWindows(root, OPTIONS, seed=0)._clips] == ["001"]
    (root / "train_sharp/001").rename(root / "train_sharp/020")
    with pytest.raises(TrainingError, match="has no clip of at least 3 frames besides 000, 011, 015, 020"):
        RedsWindows(root, OPTIONS, seed=0)


def test_missing_and_unfit_files_are_named(root):
    source = RedsWindows(root, RedsOptions(window_pixels=16, batch_windows=1), seed=0)
    with pytest.raises(TrainingError, match="frames of clip 001 are 16x12, too small for windows of 16"):
        source.batch(0)
    for path in (root / "train_flow_bicubic/X4/001").iterdir():
        path.unlink()
    with pytest.raises(TrainingError, match=r"cannot read the optical flow .*_0000000\d.npy"):
        RedsWindows(root, OPTIONS, seed=0).batch(0)
    (root / "train_flow_bicubic").rename(root / "elsewhere")
    with pytest.raises(TrainingError, match="has no folder train_flow_bicubic/X4; REDS needs"):
        RedsWindows(root, OPTIONS, seed=0)
