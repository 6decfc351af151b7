"""The streaming network gives the plain network's frame."""

from __future__ import annotations

import pytest
import torch

from fmanet_cli.engine.fast import warping
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.engine.runner import ReferenceRunner
from fmanet_cli.model.config import LITE, FMANetConfig
from fmanet_cli.model.filtering import backward_warp
from fmanet_cli.model.fmanet import FMANet, random_model
from fmanet_cli.weights.checkpoint import load_model
from support.windows import window_of

CPU = torch.device("cpu")
WIDE = FMANetConfig(
    dim=66,
    num_rdbs=2,
    growth=5,
    num_dense_layers=3,
    num_flows=3,
    num_frma_blocks=2,
    num_attention_blocks=2,
    num_heads=6,
    ffn_expansion=1.3,
    degradation_kernel_size=6,
    restoration_kernel_size=3,
)
"""Wide enough for the dense blocks that are regrouped by source."""

FIVE_FRAMES = FMANetConfig(
    dim=20,
    num_frames=5,
    num_rdbs=1,
    growth=4,
    num_dense_layers=2,
    num_flows=2,
    num_frma_blocks=2,
    num_attention_blocks=1,
    num_heads=4,
    ffn_expansion=2.0,
    degradation_kernel_size=8,
    residual_dim=6,
)


def lively(config: FMANetConfig) -> FMANet:
    """A random network whose flows reach several pixels and whose kernels matter."""
    model = random_model(config, seed=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".conv_f.2." in name or "f_conv3.2." in name:
                parameter *= 20
    return model


@pytest.mark.parametrize("strip_bytes", [None, 4000], ids=["default strips", "thin strips"])
@pytest.mark.parametrize(("height", "width"), [(40, 25), (9, 31), (2, 5), (1, 1)])
@pytest.mark.parametrize("config", [WIDE, FIVE_FRAMES], ids=["wide", "five frames"])
def test_equals_the_plain_network(config: FMANetConfig, height: int, width: int, strip_bytes: int | None) -> None:
    model = lively(config)
    frames = torch.rand(config.num_frames, 3, height, width, generator=torch.Generator().manual_seed(2))
    expected = window_of(ReferenceRunner(model, device=CPU, precision="fp32"), frames)
    found = window_of(StreamingRunner(model, device=CPU, precision="fp32", strip_bytes=strip_bytes), frames)
    assert found.shape == (3, 4 * height, 4 * width)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_warping_row_by_row_is_warping_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(4)
    features, fields = torch.randn(2, 6, 13, 9, generator=generator), 4 * torch.randn(2, 9, 13, 9, generator=generator)
    at_once, by_rows = torch.zeros(2, 6, 13, 9), torch.zeros(2, 6, 13, 9)
    warping.warp_into(at_once, features, fields)
    for row_count in (1, 5):
        monkeypatch.setattr(warping, "WARPED_BYTES", row_count * 4 * 6 * 9)
        warping.warp_into(by_rows, features, fields)
        torch.testing.assert_close(by_rows, at_once, atol=1e-6, rtol=0)
    shifted = features.flatten(0, 1)[:, None]
    flow = fields[:, [0, 1, 3, 4, 6, 7]].unflatten(1, (3, 2)).repeat_interleave(2, dim=1).flatten(0, 1)
    masks = fields[:, 2::3].repeat_interleave(2, dim=1).sigmoid()
    expected = backward_warp(shifted, flow).view(2, 6, 13, 9) * masks
    torch.testing.assert_close(at_once, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("config", [WIDE, FIVE_FRAMES, LITE], ids=["wide", "five frames", "lite"])
def test_numbers_of_channels_rounded_up_change_nothing(config: FMANetConfig) -> None:
    model = lively(config)
    frames = torch.rand(config.num_frames, 3, 19, 22, generator=torch.Generator().manual_seed(5))
    expected = window_of(StreamingRunner(model, device=CPU, precision="fp32"), frames)
    runner = StreamingRunner(model, device=CPU, precision="fp32", strip_bytes=30_000, channel_multiple=8)
    torch.testing.assert_close(window_of(runner, frames), expected, atol=2e-5, rtol=0)
    state = runner.frame_state(frames[0])
    assert {part.shape[1] for part in (*state.initial, *state.refined[0], *state.refined[1])} == {
        {66: 72, 20: 40, 24: 24}[config.dim]
    }


@pytest.mark.parametrize("config", [WIDE, FIVE_FRAMES], ids=["wide", "five frames"])
def test_several_windows_in_one_pass_equal_single_ones(config: FMANetConfig) -> None:
    runner = StreamingRunner(lively(config), device=CPU, precision="fp32", strip_bytes=20_000)
    frames = torch.rand(config.num_frames + 2, 3, 21, 18, generator=torch.Generator().manual_seed(3))
    states = [runner.frame_state(frame) for frame in frames]
    batch = [states[first : first + config.num_frames] for first in range(3)]
    for found, window in zip(runner.windows(batch), batch, strict=True):
        torch.testing.assert_close(found, runner.window(window), atol=2e-5, rtol=0)


def test_lite_equals_the_plain_network_and_bfloat16_stays_close() -> None:
    model = load_model("lite")
    grid = torch.linspace(0, 12, 64)
    frames = torch.stack(
        [0.5 + 0.4 * torch.sin(grid[:48, None] * 3 + grid * 2 + step)[None].expand(3, -1, -1) for step in range(3)]
    )
    expected = window_of(ReferenceRunner(model, device=CPU, precision="fp32"), frames)
    exact = window_of(StreamingRunner(model, device=CPU, precision="fp32"), frames)
    torch.testing.assert_close(exact, expected, atol=1e-4, rtol=0)
    half = window_of(StreamingRunner(model, device=CPU, precision="bf16"), frames)
    noise = (half.clamp(0, 1) - expected.clamp(0, 1)).square().mean()
    assert -10 * noise.log10() >= 50


def test_a_frame_state_does_not_depend_on_its_neighbours(tiny_model: FMANet) -> None:
    runner = StreamingRunner(tiny_model, device=CPU, precision="fp32")
    frames = torch.rand(4, 3, 12, 16, generator=torch.Generator().manual_seed(5))
    states = [runner.frame_state(frame) for frame in frames]
    again = window_of(runner, frames[1:])
    assert torch.equal(runner.window(states[1:]), again)
