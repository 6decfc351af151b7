"""PSNR, SSIM and tOF as the FMA-Net authors compute them, one pair of frames at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from fmanet_cli.dataset.byte_images import PEAK, ByteImage, describe_size
from fmanet_cli.dataset.exposure import warped
from fmanet_cli.errors import EvaluationError
from fmanet_cli.evaluation.text import TextRead

BORDER_PIXELS = 4
"""Rows and columns left out at each side for PSNR and SSIM (paper section 4)."""

SSIM_WINDOW_PIXELS = 11
"""Side of the Gaussian window of SSIM."""

SSIM_SIGMA_PIXELS = 1.5
"""Standard deviation of the Gaussian window of SSIM."""

FLOW_BLOCK_PIXELS = 32
"""The sides of the region over which tOF is averaged are multiples of this."""

FLOW_MARGIN_PIXELS = 16
"""The region over which tOF is averaged is at least this much smaller than the frame."""


OVERSHOOT_WINDOW_PIXELS = 5
"""Side of the window whose smallest and largest truth bound a value that does not overshoot."""

OVERSHOOT_CODES = 4
"""Code values outside that range that are no overshoot yet."""


@dataclass(frozen=True, slots=True)
class FrameScores:
    """What one frame reached."""

    psnr: float
    """Peak signal-to-noise ratio in dB over the three channels together; infinite for equal frames."""
    ssim: float
    """Structural similarity, at most 1."""
    tof: float | None = None
    """Optical-flow difference to the frame before, in pixels; None for a clip's first frame and for tiny frames."""
    lpips: float | None = None
    """Learned perceptual distance, lower is better; None where it was not asked for."""
    vmaf_neg: float | None = None
    """VMAF without enhancement gain, 0 to 100; None where it was not asked for."""
    xpsnr: float | None = None
    """XPSNR of luma in dB; None where it was not asked for."""
    text: TextRead | None = None
    """Characters read right; None where it was not asked for."""
    overshoot: float | None = None
    """Share of values outside the truth's range around them; see `overshoot_share`."""
    flicker: float | None = None
    """Change along the truth's flow since the frame before, minus that of the truth, in code values; None for a clip's
    first frame."""


def psnr(restored: np.ndarray, truth: np.ndarray, *, border: int = BORDER_PIXELS, peak: float = PEAK) -> float:
    """Return the peak signal-to-noise ratio in dB of two (H, W, C) images; infinite if they are equal.

    The squared error is averaged over all channels together, `border` pixels at each side left out (paper section 4).
    Raises EvaluationError if the shapes differ or nothing is left inside the border.
    """
    a, b = _inner(restored, truth, border=border, least=1)
    difference = np.subtract(a, b, dtype=np.float64)
    mean_squared_error = float(np.mean(np.square(difference, out=difference)))
    return math.inf if mean_squared_error == 0 else 10 * math.log10(peak * peak / mean_squared_error)


def ssim(restored: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean structural similarity of two (H, W, C) images of code values in [0, 255].

    Gaussian window of 11 x 11 and sigma 1.5, only where it lies wholly inside the image; per channel, then averaged;
    4 pixels at each side left out (paper section 4). Raises EvaluationError if the shapes differ or the image is
    smaller than the window and its border.
    """
    a, b = (
        image.astype(np.float64) for image in _inner(restored, truth, border=BORDER_PIXELS, least=SSIM_WINDOW_PIXELS)
    )
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    mean_a, mean_b = _window_mean(a), _window_mean(b)
    variance_a = _window_mean(a * a) - mean_a**2
    variance_b = _window_mean(b * b) - mean_b**2
    covariance = _window_mean(a * b) - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    likeness /= (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    return float(likeness.mean())


def colour_shift(restored: ByteImage, truth: ByteImage) -> tuple[float, float, float]:
    """Return the mean of `restored - truth` of the red, green and blue channel, in code values."""
    red, green, blue = (
        restored.mean(axis=(0, 1), dtype=np.float64) - truth.mean(axis=(0, 1), dtype=np.float64)
    ).tolist()
    return red, green, blue


def optical_flow(before: ByteImage, after: ByteImage) -> np.ndarray:
    """Return the (H, W, 2) Farneback flow (x, y) in pixels between two RGB frames, with the authors' settings."""
    grey_before, grey_after = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (before, after))
    flow: np.ndarray = cv2.calcOpticalFlowFarneback(  # type: ignore[call-overload]
        grey_before, grey_after, None, 0.5, 3, 15, 3, 5, 1.2, 0
    )
    return flow


def flow_difference(flow: np.ndarray, true_flow: np.ndarray) -> float | None:
    """Return the tOF of one pair of frames: the mean end-point distance of two (H, W, 2) flows in pixels.

    It is averaged over a centred region whose sides are multiples of 32 and at least 16 pixels smaller than the frame
    (704 x 1248 of 720 x 1280; paper section 4). None where no such region exists: a side below 48 pixels.
    """
    height, width = flow.shape[:2]
    rows, columns = _flow_span(height), _flow_span(width)
    if rows.start == rows.stop or columns.start == columns.stop:
        return None
    x, y = np.moveaxis(np.subtract(flow[rows, columns], true_flow[rows, columns], dtype=np.float64), -1, 0)
    return float(np.hypot(x, y).mean())


def overshoot_share(image: ByteImage, truth: ByteImage) -> float:
    """Return the share of values more than 4 code values outside the truth's range around them (5 x 5): halos."""
    around = np.ones((OVERSHOOT_WINDOW_PIXELS, OVERSHOOT_WINDOW_PIXELS), np.uint8)
    lowest, highest = cv2.erode(truth, around).astype(np.int16), cv2.dilate(truth, around).astype(np.int16)
    values = image.astype(np.int16)
    return float(np.mean((values > highest + OVERSHOOT_CODES) | (values < lowest - OVERSHOOT_CODES)))


def flow_warped_change(before: ByteImage, after: ByteImage, flow: np.ndarray) -> float:
    """Return the RMS change of luma along a (H, W, 2) flow from `before` to `after`, in code values."""
    earlier, later = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (before, after))
    return float(np.sqrt(np.mean((warped(later, flow) - earlier) ** 2)))


class FlowTrack:
    """The flows of a sequence of frames, of which only the last frame is kept."""

    def __init__(self) -> None:
        self.before: ByteImage | None = None
        """The last frame taken."""

    def step(self, image: ByteImage) -> np.ndarray | None:
        """Take the next frame and return the flow from the one before to it; None for the first."""
        before, self.before = self.before, image
        return None if before is None else optical_flow(before, image)


def _flow_span(length: int) -> slice:
    kept = max(length - FLOW_MARGIN_PIXELS, 0) // FLOW_BLOCK_PIXELS * FLOW_BLOCK_PIXELS
    start = (length - kept) // 2
    return slice(start, start + kept)


def _inner(restored: np.ndarray, truth: np.ndarray, *, border: int, least: int) -> tuple[np.ndarray, np.ndarray]:
    if restored.shape != truth.shape:
        raise EvaluationError(
            f"frames of different size cannot be compared: {describe_size(restored)} against {describe_size(truth)}"
        )
    height, width = truth.shape[:2]
    if min(height, width) < least + 2 * border:
        raise EvaluationError(
            f"a frame of {describe_size(truth)} is too small to compare: a side must have {least + 2 * border} pixels"
        )
    inside = (slice(border, height - border), slice(border, width - border))
    return restored[inside], truth[inside]


def _window_mean(image: np.ndarray) -> np.ndarray:
    window = cv2.getGaussianKernel(SSIM_WINDOW_PIXELS, SSIM_SIGMA_PIXELS)
    reach = SSIM_WINDOW_PIXELS // 2
    return cv2.sepFilter2D(image, -1, window, window)[reach:-reach, reach:-reach]
