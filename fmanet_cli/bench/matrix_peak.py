"""The rate of multiply-adds that a device reaches on plain work, as a ceiling for the network."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fmanet_cli.engine.device import DTYPES, Precision, exact_float32

CHANNELS = 90
"""As wide as the paper's network."""

_IMAGE = {"cuda": (4, 360, 640), "mps": (1, 360, 640), "cpu": (1, 180, 320)}
"""Batch, height, width of the convolution; enough to keep the device busy."""

_MATRIX_SIDE = {"cuda": 8192, "mps": 2048, "cpu": 1024}
_REPEATS = 8


@dataclass(frozen=True, slots=True)
class MatrixPeak:
    """Multiply-adds per second, the best of several runs each."""

    convolution_macs_per_second: float
    """A channels-last 3x3 convolution of 90 to 90 channels."""
    product_macs_per_second: float
    """A product of two square matrices."""

    @property
    def best_macs_per_second(self) -> float:
        """The larger one."""
        return max(self.convolution_macs_per_second, self.product_macs_per_second)


def measure_matrix_peak(device: torch.device, precision: Precision) -> MatrixPeak:
    """Time a plain convolution and a plain matrix product in this precision."""
    dtype = DTYPES[precision]
    batch, height, width = _IMAGE[device.type]
    image = torch.rand(batch, CHANNELS, height, width, device=device).to(dtype, memory_format=torch.channels_last)
    weight = torch.rand(CHANNELS, CHANNELS, 3, 3, device=device).to(dtype, memory_format=torch.channels_last)
    side = _MATRIX_SIDE[device.type]
    left, right = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    with exact_float32(device, precision):
        convolution = _best_seconds(lambda: F.conv2d(image, weight, padding=1), device)
        product = _best_seconds(lambda: left @ right, device)
    return MatrixPeak(batch * height * width * CHANNELS**2 * 9 / convolution, side**3 / product)


@torch.inference_mode()
def _best_seconds(compute: Callable[[], Tensor], device: torch.device) -> float:
    compute()
    best = float("inf")
    for _ in range(_REPEATS):
        synchronize(device)
        began = time.perf_counter()
        compute()
        synchronize(device)
        best = min(best, time.perf_counter() - began)
    return best


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
