"""Measure what `fmanet plan` promises: the gain over bicubic of frames that its meters put under each kind.

    python tests/support/gain_by_kind.py MODEL PHOTOGRAPH...

Each photograph is filmed by a moving camera in every way of `ways`, restored, and the middle one of five frames is
judged as a film of its own. Prints the table of `fmanet_cli/review/verdict.py`.
"""

import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from fmanet_cli import load_model, restore_frames
from fmanet_cli.dataset.byte_images import ByteImage
from fmanet_cli.dataset.camera import draw_camera_path, film_photograph, view_size
from fmanet_cli.dataset.clips import Clip
from fmanet_cli.dataset.imaging.chain import ImagingLevels, image_clip
from fmanet_cli.dataset.imaging.coding import Coding
from fmanet_cli.dataset.imaging.optics import Optics
from fmanet_cli.dataset.imaging.sensor import SensorNoise
from fmanet_cli.dataset.imaging.sharpening import Unsharp
from fmanet_cli.dataset.resampling import enlarge
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.evaluation.metrics import psnr
from fmanet_cli.review.meters import measure_image
from fmanet_cli.review.verdict import film_meters, judge

FRAMES = 5
LONGEST_SIDE = 384

Way = tuple[float, float, ImagingLevels]
"""Speed in pixels of the sharp frame a frame, exposure as a share of the frame interval, and what the camera does."""


def ways() -> list[Way]:
    """38 kinds and amounts of blur, defocus, noise, compression and sharpening, alone and together."""
    plain, slow = ImagingLevels(), (2.0, 0.5)
    found: list[Way] = [(2.0, 0.0, plain), (16.0, 0.0, plain)]
    found += [(speed, exposure, plain) for speed in (4.0, 16.0, 44.0) for exposure in (0.4, 0.7, 1.0)]
    found += [(*slow, ImagingLevels(optics=Optics(sigma=sigma))) for sigma in (2.0, 4.0, 6.0, 9.0, 12.0)]
    found += [(*slow, ImagingLevels(noise=SensorNoise(shot=shot))) for shot in (3e-4, 1e-3, 3e-3, 1e-2)]
    found += [(*slow, ImagingLevels(first_codec=Coding(quality=crf))) for crf in (18, 26, 30, 34, 38, 43)]
    found += [(*slow, ImagingLevels(kernel="area", unsharp=Unsharp(amount=amount))) for amount in (0.4, 0.8, 1.2)]
    sharpened, noisy = Unsharp(amount=0.8), SensorNoise(shot=1e-3)
    found += [(*slow, ImagingLevels(unsharp=sharpened, first_codec=Coding(quality=crf))) for crf in (26, 30, 34)]
    found += [(*slow, ImagingLevels(noise=noisy, first_codec=Coding(quality=crf))) for crf in (23, 28)]
    found += [(16.0, 0.8, ImagingLevels(first_codec=Coding(quality=crf))) for crf in (26, 30, 34)]
    found += [(16.0, 0.8, ImagingLevels(noise=noisy))]
    return found


def recorded(photograph: ByteImage, name: str, way: Way) -> tuple[np.ndarray, ByteImage]:
    """(5, H, W, 3) uint8 as recorded, and the (4H, 4W, 3) uint8 truth of the middle one."""
    speed, exposure, levels = way
    path = replace(draw_camera_path(name, seed=0), start_speed=speed, end_speed=speed)
    size = tuple(side // 8 * 8 for side in view_size(photograph, limit=LONGEST_SIDE))
    pairs = film_photograph(photograph, path, frame_count=FRAMES, view_size=(size[0], size[1]), exposure=exposure)
    blurred, truths = zip(*pairs, strict=True)
    frames = [image.astype(np.float32) / np.float32(255) for image in blurred]
    return image_clip(frames, levels, np.random.default_rng(0)).frames, truths[FRAMES // 2]


def main(model: str, *photographs: str) -> None:
    """Measure and print."""
    restorer = Restorer(load_model(model))
    gains: dict[str, list[float]] = defaultdict(list)
    for file in map(Path, photographs):
        photograph = next(Clip(file.stem, (file,), is_video=False).frames())
        for way in ways():
            frames, truth = recorded(photograph, file.stem, way)
            middle = frames[FRAMES // 2]
            meters = measure_image(middle.astype(np.float32) / np.float32(255))
            kind = judge(None if meters is None else film_meters([meters]), *middle.shape[:2]).kind
            restored = restore_frames(frames, restorer)[FRAMES // 2]
            gains[kind].append(psnr(restored, truth) - psnr(enlarge(middle), truth))
    sys.stdout.write(f"{'kind':<16}frames   median   10th and 90th percentile\n")
    for kind, values in sorted(gains.items(), key=lambda item: -float(np.median(item[1]))):
        low, middle_gain, high = np.percentile(values, (10, 50, 90))
        sys.stdout.write(f"{kind:<16}{len(values):6}   {middle_gain:6.2f}   {low:6.2f} {high:6.2f}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
