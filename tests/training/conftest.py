"""A network of a few thousand parameters and a source of simple windows."""

from __future__ import annotations

import pytest
import torch

from fmanet_cli.model.config import FMANetConfig
from fmanet_cli.training.losses import LossWeights
from fmanet_cli.training.recipes import Recipe, Stage
from fmanet_cli.training.windows import WindowBatch, batch_generator, downscale_window

TINY = FMANetConfig(
    dim=12,
    num_rdbs=1,
    growth=4,
    num_dense_layers=1,
    num_flows=2,
    num_frma_blocks=1,
    num_attention_blocks=1,
    num_heads=2,
    ffn_expansion=1.0,
    degradation_kernel_size=6,
    restoration_kernel_size=3,
)


class SimpleWindows:
    """Smooth random images that move one low-resolution pixel a frame (a `WindowSource`)."""

    def __init__(self, *, distinct: int = 1_000_000, windows: int = 2) -> None:
        self.distinct = distinct
        self.windows = windows

    def batch(self, index: int) -> WindowBatch:
        generator = batch_generator(5, index % self.distinct)
        coarse = torch.rand(self.windows, 3, 12, 14, generator=generator)
        scene = torch.nn.functional.interpolate(coarse, size=(32, 40), mode="bicubic").clamp(0, 1)
        sharp = torch.stack([scene[..., 4 * t : 4 * t + 32] for t in range(3)], 2)
        flow = torch.zeros(self.windows, 2, 3, 8, 8)
        flow[:, 0, 0], flow[:, 0, 2] = 1.0, -1.0
        return WindowBatch(downscale_window(sharp), sharp, flow, torch.ones(self.windows, 1, 3, 8, 8))


def tiny_recipe(*, steps: int = 6, learning_rate: float = 2e-3, batch_windows: int = 2, optimizer="adam") -> Recipe:
    return Recipe(
        name="tiny",
        config=TINY,
        stages=(
            Stage(number=1, steps=steps, learning_rate=learning_rate, schedule="halving"),
            Stage(number=2, steps=steps, learning_rate=learning_rate, schedule="cosine", warm_up_steps=2),
        ),
        window_pixels=8,
        batch_windows=batch_windows,
        weights=LossWeights(flow=0.01),
        optimizer=optimizer,
    )


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
