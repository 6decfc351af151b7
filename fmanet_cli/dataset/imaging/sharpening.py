"""The unsharp mask of a camera: halos, with coring and a limit as cameras have them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from fmanet_cli.dataset.imaging.sensor import LUMA_WEIGHTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsharp:
    """An unsharp mask on the gamma-coded low-resolution image."""

    amount: float
    """Share of the detail that is added; 1 doubles what the Gaussian takes away."""
    sigma: float = 1.0
    """Standard deviation of the Gaussian in pixels."""
    luma_only: bool = False
    """Add the luma's detail to all channels, so that hues keep."""
    coring: float = 0.0
    """Detail up to this many code values of 255 is taken for noise and not added."""
    limit: float | None = None
    """Most code values of 255 that are added; None for no limit."""

    def sharpen(self, image: np.ndarray, *, level: float = 1.0) -> np.ndarray:
        """Sharpen an (H, W, 3) float32 image; `level` multiplies the amount. Values may leave [0, 1]."""
        size = 2 * int(np.ceil(3 * self.sigma)) + 1
        detail = image - cv2.GaussianBlur(image, (size, size), self.sigma, borderType=cv2.BORDER_REFLECT)
        if self.luma_only:
            detail = (detail @ LUMA_WEIGHTS)[..., None]
        if self.coring:
            detail = np.sign(detail) * np.maximum(np.abs(detail) - np.float32(self.coring / 255), 0)
        added = np.float32(self.amount * level) * detail
        if self.limit is not None:
            added = np.clip(added, -np.float32(self.limit / 255), np.float32(self.limit / 255))
        return image + added
