"""How blurred, noisy and blocky an image is, told from the image alone.

`tests/support/draw_meters.py` draws what the meters read on known cases: lines of blur, noise, and x264 at rising crf.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_STEPS = {0: (1, 0), 45: (1, -1), 90: (0, 1), 135: (1, 1)}
"""Direction in degrees, against the clock as the image is seen, and its step of one pixel in x and y."""

_FAR = 16
"""Pixels between two points that a blur of usual length no longer ties together."""

_GROWTH = 0.5
"""In photographs the squared difference between two points grows with about this power of their distance. With it the
median of 17 of them, blurred along lines of 2, 4, 8 and 16 pixels, reads 2.6, 4.3, 8.1 and 15.9."""

_LENGTHS = np.geomspace(0.05, 4 * _FAR, 1000)
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_NOISE_CELL, _NOISE_PERCENTILE = 16, 5
_CALMEST_SHARE = 0.866
"""What the calmest cells show of white noise, measured: chance makes some calmer than others."""

_GRID = 8
_STRONGEST_STEP = 60
"""8-bit steps; what is stronger is an edge in the image."""

_CERTAIN_GRID = 0.03
"""Extra step across the grid from which on empty cells are believed to be a coder's."""

LEAST_SIDE = 32
"""Of images that can be measured."""

LEAST_CONTRAST = 4.0
"""8-bit steps below which an image (black, a fade) says nothing of its blur."""


@dataclass(frozen=True, slots=True)
class ImageMeters:
    """What one image says of itself."""

    blur: float
    """Width of its edges in pixels, in the direction in which they are widest: the length of a line of blur; about 1
    where every pixel is sharp."""
    blur_across: float
    """The same in the direction in which they are narrowest; as large as `blur` where a lens was out of focus."""
    angle: int
    """Direction of `blur` in degrees, 0, 45, 90 or 135, against the clock as the image is seen."""
    noise: float
    """Standard deviation of the luma noise in 8-bit steps; texture that fills the image counts too."""
    blockiness: float
    """Marks of a block coder, 0 = none: larger steps across the grid of 8 pixels, and cells in it left empty. Frames
    that are predicted from both sides hide them, and beyond crf 40 x264 smooths them away: then `blur` rises."""
    contrast: float
    """Standard deviation of luma in 8-bit steps."""

    @property
    def tells_blur(self) -> bool:
        """Whether there is enough in the image for `blur` to mean something."""
        return self.contrast >= LEAST_CONTRAST


def measure_image(image: np.ndarray) -> ImageMeters | None:
    """Read all meters on an (H, W, 3) RGB image, float32 in [0, 1]; None where a side is below `LEAST_SIDE`."""
    if min(image.shape[:2]) < LEAST_SIDE:
        return None
    luma = 255 * (image @ _LUMA)
    noise = _noise(luma)
    widths = _edge_widths(luma, noise)
    angle = max(widths, key=lambda name: widths[name])
    return ImageMeters(
        blur=widths[angle],
        blur_across=min(widths.values()),
        angle=angle,
        noise=noise,
        blockiness=_blockiness(luma),
        contrast=float(luma.std()),
    )


def _edge_widths(luma: np.ndarray, noise: float) -> dict[int, float]:
    """Width of the edges in pixels, by direction.

    A blur takes more from the difference of near points than from that of far ones, so their ratio tells its length;
    contrast and the amount of edges cancel, and noise, which adds the same to both, is taken off.
    """
    widths = {}
    for angle, step in _STEPS.items():
        unit = float(np.hypot(*step))
        far = round(_FAR / unit)
        near_square, far_square = (
            max(0.0, _mean_square_difference(luma, step, apart) - 2 * noise**2) for apart in (1, far)
        )
        ratios = _expected(unit) / _expected(far * unit)
        ratio = near_square / far_square if far_square > 0 else ratios[0]
        widths[angle] = float(np.interp(-ratio, -ratios, _LENGTHS))
    return widths


def _expected(apart: float) -> np.ndarray:
    """Mean squared difference of points that far apart along a line of blur of each length, up to a factor."""
    power = _GROWTH + 2
    spread = (_LENGTHS + apart) ** power + np.abs(_LENGTHS - apart) ** power - 2 * apart**power
    return (spread - 2 * _LENGTHS**power) / _LENGTHS**2


def _mean_square_difference(luma: np.ndarray, step: tuple[int, int], apart: int) -> float:
    x, y = step[0] * apart, step[1] * apart
    height, width = luma.shape
    here = luma[max(0, -y) : height - max(0, y), : width - x]
    there = luma[max(0, y) : height - max(0, -y), x:]
    return float(np.square(here - there).mean())


def _noise(luma: np.ndarray) -> float:
    """What a Laplacian of Laplacians finds in the calmest cells (Immerkaer 1996, told from cells instead of all)."""
    squares = np.square(cv2.filter2D(luma, -1, _NOISE_KERNEL)[1:-1, 1:-1])
    cells = cv2.boxFilter(squares, -1, (_NOISE_CELL, _NOISE_CELL), anchor=(0, 0))
    inside = cells[: -_NOISE_CELL + 1 : _NOISE_CELL // 2, : -_NOISE_CELL + 1 : _NOISE_CELL // 2]
    calm = float(np.sqrt(np.percentile(inside, _NOISE_PERCENTILE) / np.square(_NOISE_KERNEL).sum()))
    return calm / _CALMEST_SHARE


def _blockiness(luma: np.ndarray) -> float:
    """Of a grid that begins at the upper left corner."""
    codes = np.rint(luma)
    grid = (_extra_step(codes) + _extra_step(codes.T)) / 2
    height, width = (side // _GRID * _GRID for side in codes.shape)
    curvature = np.abs(cv2.filter2D(codes, -1, _NOISE_KERNEL))[:height, :width]
    inner = curvature.reshape(height // _GRID, _GRID, width // _GRID, _GRID)[:, 2:-2, :, 2:-2]
    empty = float((inner.max(axis=(1, 3)) <= 2).mean())
    return grid + empty * min(1.0, grid / _CERTAIN_GRID)


def _extra_step(codes: np.ndarray) -> float:
    """How much rougher columns are at the borders of the grid than elsewhere, as a share, beyond what chance gives."""
    rough = np.abs(codes[:, 3:] - 3 * codes[:, 2:-1] + 3 * codes[:, 1:-2] - codes[:, :-3])
    columns = np.minimum(rough, _STRONGEST_STEP).mean(axis=0)
    # Column j lies between the pixels j + 1 and j + 2.
    is_border = np.arange(len(columns)) % _GRID == _GRID - 2
    at, elsewhere = columns[is_border], columns[~is_border]
    by_chance = np.hypot(at.std() / np.sqrt(len(at)), elsewhere.std() / np.sqrt(len(elsewhere)))
    return max(0.0, float((at.mean() - elsewhere.mean() - by_chance) / (elsewhere.mean() + 0.05)))
