"""Motion blur as REDS makes it: the neighbouring frames, interpolated along their motion, averaged in linear light."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import cv2
import numpy as np

from fmanet_cli.dataset.byte_images import ByteImage
from fmanet_cli.dataset.imaging.light import light_to_srgb, srgb_to_light

LEAST_SUB_FRAMES = 9
"""Fewest sub-frames averaged into a blurred frame."""

MOST_SUB_FRAMES = 33
"""Most sub-frames averaged into a blurred frame."""

SUB_FRAME_STEP_PIXELS = 2.0
"""Sub-frames are at most this far apart while their number allows: half a pixel of the low-resolution frame."""

LARGE_MOTION_PIXELS = 1.0
"""Between frames that move less (95th percentile) sub-frames are cross-faded, not interpolated along the motion."""

_LIGHT_OF_CODES = srgb_to_light(np.arange(256) / 255).astype(np.float32)


class FrameGap:
    """Two neighbouring frames and what lies between them."""

    def __init__(self, before: ByteImage, after: ByteImage) -> None:
        self._before, self._after = before, after

    @cached_property
    def _flows(self) -> tuple[np.ndarray, np.ndarray]:
        """The (H, W, 2) flows from the first to the second frame and back, in pixels."""
        estimator = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_MEDIUM)
        before, after = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (self._before, self._after))
        forward, backward = estimator.calc(before, after, None), estimator.calc(after, before, None)  # type: ignore[call-overload]
        return forward, backward

    @cached_property
    def motion_pixels(self) -> float:
        """95th percentile of the motion between the two frames."""
        x, y = np.moveaxis(self._flows[0][::4, ::4], -1, 0)
        return float(np.percentile(np.hypot(x, y), 95))

    def at(self, fraction: float) -> ByteImage:
        """Return the frame at `fraction` in [0, 1] of the way from the first to the second."""
        if fraction in (0, 1):
            return self._after if fraction else self._before
        before, after = self._before, self._after
        if self.motion_pixels >= LARGE_MOTION_PIXELS:
            forward, backward = self._flows
            to_before = fraction * (fraction * backward - (1 - fraction) * forward)
            to_after = (1 - fraction) * ((1 - fraction) * forward - fraction * backward)
            before, after = warped(before, to_before), warped(after, to_after)
        return cv2.addWeighted(before, 1 - fraction, after, fraction, 0)


def blur_clip(
    frames: Iterable[ByteImage], *, stride: int = 1, exposure: float = 0.8
) -> Iterator[tuple[ByteImage, ByteImage]]:
    """Yield pairs of a blurred frame and the sharp frame at the middle of its exposure.

    Every `stride`-th frame with enough neighbours is such a middle; `exposure` in [0, 1] is the share of the time
    between two of them during which the shutter is open. Holds the frames of one exposure in memory.
    """
    half_frames = stride * exposure / 2
    reach = math.ceil(half_frames)
    window: deque[ByteImage] = deque(maxlen=2 * reach + 1)
    gaps: deque[FrameGap] = deque(maxlen=2 * reach)
    for index, frame in enumerate(frames):
        if window:
            gaps.append(FrameGap(window[-1], frame))
        window.append(frame)
        if index >= 2 * reach and (index - 2 * reach) % stride == 0:
            yield (_expose(list(gaps), half_frames) if reach else frame), window[reach]


def average_in_linear_light(images: Iterable[ByteImage]) -> ByteImage:
    """Return the mean of gamma-coded RGB images, taken in linear light (sRGB curve), gamma-coded again."""
    total: np.ndarray | None = None
    count = 0
    for image in images:
        light = cv2.LUT(image, _LIGHT_OF_CODES)
        total = light if total is None else np.add(total, light, out=total)
        count += 1
    if total is None:
        raise ValueError("no image to average")
    return np.clip(np.rint(255 * light_to_srgb(total / count)), 0, 255).astype(np.uint8)


def sub_frame_offsets(half_length: float, *, motion_pixels: float) -> np.ndarray:
    """Return an odd number of times from `-half_length` to `half_length`, the more the larger the motion."""
    wanted = math.ceil(motion_pixels / SUB_FRAME_STEP_PIXELS) + 1
    count = min(max(wanted, LEAST_SUB_FRAMES), MOST_SUB_FRAMES) | 1
    return np.linspace(-half_length, half_length, count)


def _expose(gaps: Sequence[FrameGap], half_frames: float) -> ByteImage:
    middle = len(gaps) / 2
    motion = 2 * half_frames * max(gap.motion_pixels for gap in gaps)
    times = middle + sub_frame_offsets(half_frames, motion_pixels=motion)
    starts = np.minimum(np.floor(times).astype(int), len(gaps) - 1)
    return average_in_linear_light(
        gaps[start].at(float(time - start)) for time, start in zip(times, starts, strict=True)
    )


def warped(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return the image whose pixel (x, y) is taken from `image` at (x, y) + flow, its border repeated outwards."""
    height, width = flow.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(
        image, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
