"""What all tests share: a private cache, a tiny network and a small clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from support.moving_frames import make_frames

if TYPE_CHECKING:
    from fmanet_cli.model.fmanet import FMANet


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's weights cache."""
    monkeypatch.setenv("FMANET_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def random_tiny_model() -> FMANet:
    """A random network of a few thousand parameters."""
    from fmanet_cli.model.config import FMANetConfig
    from fmanet_cli.model.fmanet import random_model

    config = FMANetConfig(
        dim=6,
        num_rdbs=1,
        growth=4,
        num_dense_layers=2,
        num_flows=2,
        num_frma_blocks=1,
        num_attention_blocks=1,
        num_heads=2,
        ffn_expansion=1.5,
        degradation_kernel_size=4,
        restoration_kernel_size=3,
    )
    return random_model(config, seed=3)


@pytest.fixture
def tiny_model(random_tiny_model: FMANet) -> FMANet:
    """A network of a few thousand parameters that enlarges its frames, somehow."""
    _make_it_enlarge(random_tiny_model)
    return random_tiny_model


def _make_it_enlarge(model: FMANet) -> None:
    """Make heavy what a restored frame has from the centre frame, and light everything else, which stays random.

    A run that shows something else than its source is refused.
    """
    import torch

    config, heads = model.config, model.restoration_network
    centre, frames, taps = config.centre, config.num_frames, config.restoration_taps
    with torch.no_grad():
        for head in (heads.res_conv2, heads.r_conv[2], heads.f_conv2[2], heads.f_conv3[2]):
            head.weight.mul_(0.1)
        # The mask grows with the frame's own brightness, so that nothing bright counts as occluded.
        heads.f_conv3[0].weight[:, : config.flow_channels] = 0
        heads.f_conv3[0].weight.abs_()
        heads.f_conv3[2].weight[2] = 2
        # The aligned features of the centre frame are about 10, those of the others about 0.
        last = heads.FRMA_blocks[-1]
        last.rdb.conv.bias.fill_(8)
        last.conv_Fw.weight.mul_(0.1)
        last.conv_Fw.weight[centre::frames] = 10 / (4 * config.dim * frames)
        # So the middle tap of the centre frame's kernels is about 1.
        heads.r_conv[0].weight.abs_()
        hidden = 10 * float(heads.r_conv[0].weight.sum(dim=(1, 2, 3, 4)).mean())
        heads.r_conv[2].weight[taps // 2 :: taps] += 1 / (9 * config.dim * hidden)


@pytest.fixture
def make_clip(tmp_path: Path):
    """A function that writes a small clip without sound and returns its path."""

    def write(name: str = "clip.mp4", count: int = 5, height: int = 24, width: int = 32) -> Path:
        from fmanet_cli.video.frames import VideoInfo
        from fmanet_cli.video.pixels.colour import Colour
        from fmanet_cli.video.write.writer import VideoWriter

        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        like = VideoInfo(
            path="made",
            height=height,
            width=width,
            time_base=Fraction(1, 240),
            frame_rate=Fraction(24),
            colour=Colour(matrix=1, full_range=False),
        )
        with VideoWriter(path, like=like, scale=1) as writer:
            for frame in make_frames(count, height, width):
                writer.write(frame)
        return path

    return write


@pytest.fixture(scope="session")
def scene() -> np.ndarray:
    """(200, 280, 3) uint8: a texture whose values stay away from black and white."""
    import cv2

    noise = np.random.default_rng(8).integers(0, 256, (200, 280, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2)
    return cv2.normalize(soft, None, 30, 220, cv2.NORM_MINMAX).astype(np.uint8)


@pytest.fixture
def write_frames(tmp_path: Path) -> Callable[..., Path]:
    """Write images as numbered PNGs into a folder below the test's own."""
    from fmanet_cli.video.read.images import write_image

    def write(folder: str, images: Iterable[np.ndarray]) -> Path:
        (tmp_path / folder).mkdir(parents=True)
        for index, image in enumerate(images):
            write_image(tmp_path / folder / f"{index:04d}.png", image.astype(np.float32) / 255)
        return tmp_path / folder

    return write


@pytest.fixture
def weights(tmp_path: Path, tiny_model: FMANet) -> Path:
    """`tiny_model` in a file."""
    from fmanet_cli.weights.checkpoint import CheckpointMetadata, save_checkpoint

    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, tiny_model, metadata=CheckpointMetadata(licence="MIT", source="random, for tests"))
    return path
