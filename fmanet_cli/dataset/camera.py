"""A photograph filmed by a camera on a seeded path: sharp frames and their motion-blurred copies, exactly."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from fmanet_cli.dataset.byte_images import ByteImage
from fmanet_cli.dataset.exposure import average_in_linear_light, sub_frame_offsets

SPEED_RANGE_PIXELS = (0.5, 40.0)
"""Slowest and fastest camera, in pixels of the sharp frame a frame; drawn evenly on a logarithmic scale."""

VIEW_SHARE = 0.6
"""Sides of the view as a share of the photograph's, so that the camera has room to move."""

_STEPS_A_FRAME = 64


@dataclass(frozen=True, slots=True)
class CameraPath:
    """Where a camera looks over time: a drift that turns and changes its speed, hand shake, rotation and zoom."""

    start_speed: float
    """Pixels a frame at the first frame."""
    end_speed: float
    """Pixels a frame at the last frame; the speed changes evenly on a logarithmic scale."""
    heading: float
    """Direction of the drift at the first frame, in radians."""
    turn: float
    """Change of the heading, in radians a frame."""
    roll: float
    """Rotation about the view's centre, in radians a frame."""
    zoom: float
    """Natural logarithm of the magnification gained a frame."""
    shake_pixels: tuple[float, float]
    """Amplitude of the hand shake along x and y."""
    shake_cycles: tuple[float, float]
    """Oscillations of the hand shake a frame along x and y."""

    def positions(self, frame_count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return times (N,) in frames, from -1/2 to `frame_count` - 1/2, and the view's centres (N, 2) then.

        Centres are x, y in pixels from the middle of the box around them all.
        """
        times = np.linspace(-0.5, frame_count - 0.5, frame_count * _STEPS_A_FRAME + 1)
        progress = times / max(frame_count - 1, 1)
        speed = self.start_speed * (self.end_speed / self.start_speed) ** progress
        heading = self.heading + self.turn * times
        drift = np.stack([speed * np.cos(heading), speed * np.sin(heading)], axis=1).cumsum(axis=0) / _STEPS_A_FRAME
        shake = np.asarray(self.shake_pixels) * np.sin(2 * np.pi * np.outer(times, self.shake_cycles))
        centres = drift + shake
        return times, centres - (centres.min(axis=0) + centres.max(axis=0)) / 2

    def rotation(self, since_middle: float) -> np.ndarray:
        """Return the (2, 2) matrix from view to photograph, `since_middle` frames after the middle of the clip."""
        magnification, angle = math.exp(self.zoom * since_middle), self.roll * since_middle
        cosine, sine = math.cos(angle) / magnification, math.sin(angle) / magnification
        return np.array([[cosine, -sine], [sine, cosine]])


def draw_camera_path(name: str, *, seed: int) -> CameraPath:
    """Return the camera path of one clip; it depends on the clip's name and the seed alone."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    slowest, fastest = np.log(SPEED_RANGE_PIXELS)
    start_speed, end_speed = np.exp(rng.uniform(slowest, fastest, 2)).tolist()
    shake_x, shake_y = rng.uniform(0, 1.5, 2).tolist()
    cycles_x, cycles_y = rng.uniform(0.05, 0.3, 2).tolist()
    return CameraPath(
        start_speed=start_speed,
        end_speed=end_speed,
        heading=float(rng.uniform(0, 2 * math.pi)),
        turn=float(rng.normal(0, 0.05)),
        roll=float(rng.normal(0, 0.002)),
        zoom=float(rng.normal(0, 0.002)),
        shake_pixels=(shake_x, shake_y),
        shake_cycles=(cycles_x, cycles_y),
    )


def film_photograph(
    photograph: ByteImage, path: CameraPath, *, frame_count: int, view_size: tuple[int, int], exposure: float
) -> Iterator[tuple[ByteImage, ByteImage]]:
    """Yield pairs of a blurred frame and the sharp frame at the middle of its exposure.

    `view_size` is the frames' height and width, `exposure` in [0, 1] the share of the frame interval during which
    the shutter is open. Where the path leaves the photograph, the photograph is mirrored.
    """
    times, centres = path.positions(frame_count)
    middle = (np.array(photograph.shape[1::-1]) - 1) / 2
    for index in range(frame_count):
        during = np.abs(times - index) <= exposure / 2
        way = float(np.hypot(*np.diff(centres[during], axis=0).T).sum())
        views = []
        for moment in index + sub_frame_offsets(exposure / 2, motion_pixels=way):
            centre = middle + [np.interp(moment, times, axis) for axis in centres.T]
            rotation = path.rotation(moment - (frame_count - 1) / 2)
            views.append(_view(photograph, centre, rotation, view_size))
        yield average_in_linear_light(views), views[len(views) // 2]


def view_size(photograph: ByteImage, *, limit: int | None = None) -> tuple[int, int]:
    """Return height and width of the view of a photograph: 0.6 of its sides, at most `limit`, multiples of 4."""
    height, width = (int(min(VIEW_SHARE * side, limit or side)) // 4 * 4 for side in photograph.shape[:2])
    return height, width


def _view(photograph: ByteImage, centre: np.ndarray, rotation: np.ndarray, size: tuple[int, int]) -> ByteImage:
    height, width = size
    shift = centre - rotation @ np.array([(width - 1) / 2, (height - 1) / 2])
    view: ByteImage = cv2.warpAffine(
        photograph,
        np.column_stack([rotation, shift]),
        (width, height),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return view
