"""Impossible sizes are refused with what to change."""

from __future__ import annotations

import pytest

from fmanet_cli.errors import OptionError
from fmanet_cli.model.config import LITE, PAPER, FMANetConfig


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ({"num_frames": 4}, "num_frames must be odd.* got 4"),
        ({"num_frames": 7}, "dim must be divisible by num_frames, got dim=90 and num_frames=7; dim=91"),
        ({"num_flows": 4}, "dim must be divisible by num_flows, got dim=90 and num_flows=4; dim=92"),
        ({"num_heads": 7}, "dim must be divisible by num_heads"),
        ({"scale": 2}, "scale must be 4"),
        ({"degradation_kernel_size": 7}, "degradation_kernel_size must be even"),
        ({"degradation_kernel_size": 2}, "at least 4, got 2"),
        ({"restoration_kernel_size": 4}, "restoration_kernel_size must be odd, got 4"),
        ({"growth": 0}, "growth must be a whole number of at least 1, got 0"),
        ({"residual_dim": 0}, "residual_dim must be a whole number of at least 1, got 0"),
        ({"dim": 90.0}, "dim must be a whole number"),
        ({"ffn_expansion": -1.0}, "ffn_expansion"),
    ],
)
def test_impossible_sizes_are_refused(sizes: dict[str, float], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        FMANetConfig(**sizes)


def test_derived_sizes() -> None:
    assert (PAPER.centre, PAPER.flow_channels, PAPER.ffn_hidden) == (1, 27, 239)
    assert (PAPER.degradation_taps, PAPER.restoration_taps) == (400, 25)
    assert (PAPER.residual_width, FMANetConfig(residual_dim=16).residual_width) == (90, 16)
    assert (LITE.flow_channels, LITE.ffn_hidden, LITE.degradation_taps) == (12, 48, 144)
