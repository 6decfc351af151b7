"""One window through a runner."""

from __future__ import annotations

from torch import Tensor

from fmanet_cli.engine.runner import WindowRunner


def window_of(runner: WindowRunner, frames: Tensor) -> Tensor:
    """Restore the centre of (T, 3, H, W) frames: (3, 4H, 4W), not clamped."""
    return runner.window([runner.frame_state(frame) for frame in frames])
