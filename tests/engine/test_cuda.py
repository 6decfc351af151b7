"""The streaming network on a CUDA device: the same frame, a bounded memory, and smaller tiles when that runs out."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from fmanet_cli.engine.device import Precision, read_facts
from fmanet_cli.engine.fast import fused
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.runner import ReferenceRunner
from fmanet_cli.weights.checkpoint import load_model
from support.moving_frames import make_frames
from support.windows import window_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.usefixtures("full_float32", "released_memory"),
]

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def full_float32() -> Iterator[None]:
    """Convolutions of float32 multiply in float32, not in the shorter TF32."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.fixture
def released_memory() -> Iterator[None]:
    """Nothing of an earlier test is left in the device's memory."""
    gc.collect()
    torch.cuda.empty_cache()
    yield
    gc.collect()
    torch.cuda.empty_cache()


def moving_window(height: int, width: int) -> torch.Tensor:
    """(3, 3, H, W) float32."""
    return torch.stack([torch.from_numpy(frame.image).permute(2, 0, 1) for frame in make_frames(3, height, width)])


def test_the_fused_kernels_run_here() -> None:
    pytest.importorskip("triton")
    for dtype in (torch.float16, torch.float32):
        assert fused.why_not(CUDA, dtype) is None


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("strip_bytes", [None, 1 << 20], ids=["default strips", "thin strips"])
@pytest.mark.parametrize("weights", ["lite", "random:paper"])
def test_equals_the_plain_network(weights: str, strip_bytes: int | None, fused: bool) -> None:
    model = load_model(weights)
    frames = moving_window(45, 63)
    expected = window_of(ReferenceRunner(model, device=CPU, precision="fp32"), frames)
    runner = StreamingRunner(model, device=CUDA, precision="fp32", strip_bytes=strip_bytes, fused=fused)
    torch.testing.assert_close(window_of(runner, frames.to(CUDA)).cpu(), expected, atol=1e-4, rtol=0)


def test_several_windows_in_a_pass_equal_single_ones() -> None:
    runner = StreamingRunner(load_model("random:paper"), device=CUDA, precision="fp32")
    states = [runner.frame_state(frame) for frame in torch.cat((moving_window(45, 63), moving_window(45, 63))).to(CUDA)]
    batch = [states[first : first + 3] for first in range(4)]
    for found, window in zip(runner.windows(batch), batch, strict=True):
        torch.testing.assert_close(found, runner.window(window), atol=1e-4, rtol=0)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_16_bit_stays_close_to_float32(precision: Precision) -> None:
    if precision == "bf16" and not read_facts().cards[0].has_bfloat16:
        pytest.skip("this device has no bfloat16")
    model = load_model("lite")
    frames = moving_window(180, 320).to(CUDA)
    exact, half = (
        window_of(StreamingRunner(model, device=CUDA, precision=chosen), frames).clamp(0, 1)
        for chosen in ("fp32", precision)
    )
    assert -10 * (half - exact).square().mean().log10() >= 50


@pytest.mark.parametrize("compiled", ["off", "on"])
def test_out_of_memory_repeats_the_window_in_smaller_tiles(compiled: str) -> None:
    model = load_model("random:paper")
    frames = list(make_frames(2, 180, 320))
    restorer = Restorer(model, device="cuda", precision="fp32", tile=0, compiled=compiled)
    # The kept features of three frames alone need 622 MB in float32.
    run = restorer.start(180, 320)
    allowed = torch.cuda.memory_reserved(0) + 600e6
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(0).total_memory, 0)
    try:
        found = [frame.image for frame in run.restore(frames)]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)
    assert run.warnings
    assert all(text.startswith("out of memory on cuda") for text in run.warnings)
    assert 0 < run.tiling.size < 320
    again = Restorer(model, device="cuda", precision="fp32", tile=run.tiling.size).restore(frames)
    for image, expected in zip(found, again, strict=True):
        assert image.shape == (720, 1280, 3)
        np.testing.assert_allclose(image, expected.image, atol=1e-4)


@pytest.mark.parametrize(
    ("height", "width", "gigabytes"), [(180, 320, 1), (576, 768, 5), (720, 1280, 10)], ids=["180p", "576p", "720p"]
)
def test_whole_frames_fit_into_the_memory_they_may_have(height: int, width: int, gigabytes: int) -> None:
    model = load_model("random:paper")
    frames = moving_window(height, width).to(CUDA)
    torch.cuda.reset_peak_memory_stats(0)
    restored = window_of(StreamingRunner(model, device=CUDA, precision="fp16"), frames)
    assert restored.shape == (3, 4 * height, 4 * width)
    assert restored.isfinite().all()
    assert torch.cuda.max_memory_allocated(0) <= gigabytes * 1e9
