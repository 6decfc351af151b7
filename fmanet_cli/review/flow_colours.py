"""Optical flow as colours, with the wheel that explains them."""

from __future__ import annotations

import cv2
import numpy as np


def flow_to_rgb(flow: np.ndarray, *, longest: float) -> np.ndarray:
    """Colours of a flow: the hue is its direction, the saturation its length.

    Args:
        flow: (..., 2), x and y, y pointing down.
        longest: the length of full saturation; longer flows look as long.

    Returns:
        (..., 3) float32 RGB in [0, 1]; no flow is white.
    """
    shape = flow.shape[:-1]
    x, y = flow[..., 0].reshape(-1, 1), flow[..., 1].reshape(-1, 1)
    hue = np.degrees(np.arctan2(-y, x)) % 360
    saturation = np.clip(np.hypot(x, y) / max(longest, 1e-6), 0, 1)
    hsv = np.stack((hue, saturation, np.ones_like(hue)), axis=-1).astype(np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).reshape(*shape, 3)


def colour_wheel(side: int) -> np.ndarray:
    """(side, side, 3): each direction and length as `flow_to_rgb` paints it; its rim has the longest flow."""
    steps = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = np.meshgrid(steps, steps)
    wheel = flow_to_rgb(np.stack((x, y), axis=-1), longest=1)
    wheel[np.hypot(x, y) > 1] = 1
    return wheel
