"""What a GPU would do for a frame is counted without one, and does not grow unseen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from fmanet_cli.bench.operations import OperationCounter, count_operations
from fmanet_cli.engine.fast import triton_kernels
from fmanet_cli.weights.checkpoint import CheckpointMetadata, load_model, save_checkpoint

META = torch.device("meta")


def test_work_is_counted_and_views_are_not() -> None:
    image = torch.empty(1, 4, 5, 6, device=META, dtype=torch.float16, memory_format=torch.channels_last)
    with torch.inference_mode(), OperationCounter() as counter:
        torch.empty_like(image).permute(0, 2, 3, 1).view(-1, 4)[:3].add_(1)
    # Twelve values read and written.
    assert (counter.launches, counter.traffic_bytes) == (1, 2 * 12 * 2)
    with torch.inference_mode(), OperationCounter() as counter:
        F.conv2d(image, torch.empty(8, 4, 3, 3, device=META, dtype=torch.float16), padding=1)
    assert (counter.launches, counter.traffic_bytes) == (1, (120 + 8 * 36 + 240) * 2)


def test_base_stays_within_what_it_may_cost(tmp_path: Path) -> None:
    model = load_model("random:base")
    for precision in ("fp32", "fp16"):
        assert count_operations(model, 180, 320, precision=precision).macs_per_pixel <= 4e6
    assert model.count_parameters() <= 3_000_000
    file = tmp_path / "base.safetensors"
    save_checkpoint(file, model, metadata=CheckpointMetadata(licence="MIT", source="random"))
    assert file.stat().st_size <= 12_000_000


def test_launches_of_triton_are_counted_among_operations_made_of_others() -> None:
    image = torch.empty(1, 4, 5, 6, device=META, dtype=torch.float16, memory_format=torch.channels_last)
    with torch.inference_mode(), OperationCounter() as counter:
        F.conv2d(image, torch.empty(8, 4, 3, 3, device=META, dtype=torch.float16), padding=1)
        before = counter.traffic_bytes
        assert triton_kernels.is_observed((image,), (image,))
    assert (counter.launches, counter.traffic_bytes - before) == (2, 2 * 120 * 2)
    assert triton_kernels.observer is None


@pytest.mark.parametrize(
    ("name", "windows", "launches", "bytes_per_pixel"),
    [
        ("lite", 8, 75, 70_000),
        pytest.param("random:paper", 1, 840, 440_000, marks=pytest.mark.slow),
    ],
)
def test_no_frame_takes_more_than_it_did(name: str, windows: int, launches: int, bytes_per_pixel: int) -> None:
    counts = count_operations(load_model(name), 180, 320, windows=windows)
    assert counts.launches <= launches
    assert 0.8e6 < counts.macs_per_pixel < 15.5e6
    assert counts.traffic_bytes <= bytes_per_pixel * 320 * 180
