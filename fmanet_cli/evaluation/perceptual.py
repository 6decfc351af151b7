"""LPIPS, the learned perceptual distance, where its optional package is installed."""

from __future__ import annotations

import importlib.util

import torch

from fmanet_cli.dataset.byte_images import PEAK, ByteImage
from fmanet_cli.errors import OptionError


class PerceptualDistance:
    """LPIPS with its AlexNet features, on the CPU.

    Raises OptionError where the package lpips or its features are missing.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("lpips") is None:
            raise OptionError("LPIPS needs the package lpips, which is not installed: pip install lpips")
        try:
            import lpips

            self._distance = lpips.LPIPS(net="alex", verbose=False).eval()
        except (ImportError, OSError, RuntimeError) as error:
            raise OptionError(f"LPIPS cannot load its features: {error}") from error

    def __call__(self, restored: ByteImage, truth: ByteImage) -> float:
        """Return the distance of two (H, W, 3) RGB images of code values; 0 for equal ones."""
        with torch.inference_mode():
            return float(self._distance(_to_tensor(restored), _to_tensor(truth)))


def _to_tensor(image: ByteImage) -> torch.Tensor:
    """Return (1, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() * (2 / PEAK) - 1
