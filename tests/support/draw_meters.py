"""Draw what the meters of `fmanet plan` read on known cases: lines of blur, defocus, noise, and x264 at rising crf.

    python tests/support/draw_meters.py meters.png PHOTOGRAPH...

Photographs are reduced to 480 pixels, so that they are sharp to the pixel. Each curve is the median of all of them.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import cv2
import numpy as np

from fmanet_cli.dataset.imaging.coding import Coding
from fmanet_cli.drawing import INK, PAPER, below, beside, framed, text_lines
from fmanet_cli.review.meters import ImageMeters, measure_image
from fmanet_cli.video.read.images import read_image, write_image

SIDE = 480
LINES = (0, 2, 4, 6, 8, 12, 16, 24)
SIGMAS = (0, 0.5, 1, 1.5, 2, 3)
NOISES = (0, 1, 2, 4, 8, 16)
CRFS = (10, 18, 23, 28, 33, 38, 43, 48)
COLOURS = ((31, 90, 166), (196, 78, 30))
FONT = cv2.FONT_HERSHEY_SIMPLEX


def reduced(path: str) -> np.ndarray:
    """A photograph at 480 pixels."""
    image = read_image(path)
    factor = min(1.0, SIDE / max(image.shape[:2]))
    height, width = (int(side * factor) // 16 * 16 for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).clip(0, 1)


def line(image: np.ndarray, length: float) -> np.ndarray:
    """Blurred along a horizontal line."""
    if not length:
        return image
    ends = np.abs(np.arange(-16, 17)) - 0.5
    kernel = np.clip(length / 2 - ends, 0, 1).astype(np.float32)[None] / np.float32(max(length, 1))
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)


def defocused(image: np.ndarray, sigma: float) -> np.ndarray:
    """Soft in every direction."""
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma else image


def noisy(image: np.ndarray, sigma: float) -> np.ndarray:
    """With white noise of luma, in steps of 255."""
    noise = np.random.default_rng(0).standard_normal(image.shape[:2])[..., None]
    return (image + sigma / 255 * noise).astype(np.float32)


def coded(image: np.ndarray, crf: float) -> np.ndarray:
    """The fifth frame of a slow pan."""
    height, width = (side - 16 for side in image.shape[:2])
    frames = [np.ascontiguousarray(image[step : step + height, 2 * step : 2 * step + width]) for step in range(6)]
    return Coding(quality=crf).code(frames)[4]


def meters_of(image: np.ndarray) -> ImageMeters:
    """The meters of an (H, W, 3) float32 RGB image in [0, 1], rounded to 8 bits."""
    meters = measure_image(np.rint(image.clip(0, 1) * 255).astype(np.float32) / np.float32(255))
    assert meters is not None
    return meters


def curves(
    images: Sequence[np.ndarray], change: Callable[[np.ndarray, float], np.ndarray], levels: Sequence[float]
) -> dict[str, list[float]]:
    """Name of each meter to its median at each level."""
    found = [[meters_of(change(image, level)) for image in images] for level in levels]
    names = {"blur": "blur", "blur_across": "across", "noise": "noise", "blockiness": "blocks"}
    return {
        shown: [median(getattr(meters, name) for meters in at_level) for at_level in found]
        for name, shown in names.items()
    }


def chart(
    title: str,
    places: Sequence[float],
    curves: Mapping[str, Sequence[float]],
) -> np.ndarray:
    """Curves over rising places, as a box with its title; both axes are linear and start at 0."""
    height, width = 300, 420
    box = np.full((height, width, 3), round(255 * PAPER), dtype=np.uint8)
    highest = max(max(values) for values in curves.values()) or 1.0
    left, right, top, bottom = 48, width - 16, 16, height - 28

    def point(place: float, value: float) -> tuple[int, int]:
        return round(left + place / places[-1] * (right - left)), round(bottom - value / highest * (bottom - top))

    cv2.line(box, (left, bottom), (right, bottom), INK, 1, cv2.LINE_AA)
    cv2.line(box, (left, bottom), (left, top), INK, 1, cv2.LINE_AA)
    for place in places:
        cv2.putText(box, f"{place:g}", (point(place, 0)[0] - 6, height - 8), FONT, 0.4, INK, 1, cv2.LINE_AA)
    for value in (highest, highest / 2):
        cv2.putText(box, f"{value:.3g}", (2, point(0, value)[1] + 4), FONT, 0.4, INK, 1, cv2.LINE_AA)
    for number, (name, values) in enumerate(curves.items()):
        points = np.array([point(*pair) for pair in zip(places, values, strict=True)])
        cv2.polylines(box, [points], False, COLOURS[number], 2, cv2.LINE_AA)
        cv2.putText(box, name, (left + 12, top + 12 + 18 * number), FONT, 0.45, COLOURS[number], 1, cv2.LINE_AA)
    return below([text_lines([title], width), box / np.float32(255)], gap=2)


def main(target: str, *photographs: str) -> None:
    """Measure and draw."""
    images = [reduced(path) for path in photographs]
    lines, focus = curves(images, line, LINES), curves(images, defocused, SIGMAS)
    noise, codec = curves(images, noisy, NOISES), curves(images, coded, CRFS)
    sharpness = ("blur", "across")
    charts = [
        [
            chart("edges in px, by the length of a line of blur", LINES, {name: lines[name] for name in sharpness}),
            chart("edges in px, by the sigma of defocus", SIGMAS, {name: focus[name] for name in sharpness}),
            chart("edges in px, by the sigma of noise", NOISES, {name: noise[name] for name in sharpness}),
        ],
        [
            chart("noise in steps of 255, by its sigma", NOISES, {"noise": noise["noise"]}),
            chart("blocks, by the crf of x264", CRFS, {"blocks": codec["blocks"]}),
            chart("edges in px, by the crf of x264", CRFS, {name: codec[name] for name in sharpness}),
        ],
    ]
    write_image(target, framed(below([beside(row) for row in charts])))
    for name, levels, found in (("line", LINES, lines["blur"]), ("crf", CRFS, codec["blocks"])):
        read = ", ".join(f"{level:g}: {value:.2f}" for level, value in zip(levels, found, strict=True))
        sys.stdout.write(f"{name} {read}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
