"""Makes street.mp4: a photograph filmed by a shaking hand, blurred, shrunk to a quarter, with a melody.

    python examples/make_street_clip.py PHOTOGRAPH street.mp4

The clip in this folder was made from a public-domain photograph; examples/README.md says which.
"""

from __future__ import annotations

import sys
from fractions import Fraction

import av
import cv2
import numpy as np

from fmanet_cli import read_image

FRAMES, FRAME_RATE, SUB_FRAMES, EXPOSURE = 24, 24, 17, 0.8
WIDTH, HEIGHT, SCALE = 192, 108, 4
SAMPLE_RATE = 48000


def position(time: float) -> tuple[float, float]:
    """Where the camera looks after `time` frames, in pixels of the photograph: a swing with hand shake."""
    return 62 + 55 * np.sin(time / 5.2), 60 + 14 * np.sin(time / 2.9 + 1) + 22 * np.sin(time / 9)


def film(photograph: np.ndarray, frame: int) -> np.ndarray:
    """One blurred (HEIGHT, WIDTH, 3) frame: sub-frames averaged in linear light, shrunk."""
    light = 0.0
    for moment in np.linspace(-EXPOSURE / 2, EXPOSURE / 2, SUB_FRAMES):
        x, y = position(frame + moment)
        view = cv2.getRectSubPix(photograph, (WIDTH * SCALE, HEIGHT * SCALE), (x + WIDTH * 2, y + HEIGHT * 2))
        light = light + view**2.2 / SUB_FRAMES
    small = cv2.resize(light, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return np.rint(small ** (1 / 2.2) * 255).clip(0, 255).astype(np.uint8)


def melody() -> np.ndarray:
    """One second of three notes, (1, N) float32."""
    time = np.arange(SAMPLE_RATE * FRAMES // FRAME_RATE) / SAMPLE_RATE
    note = np.choose((time * 3).astype(int) % 3, [440.0, 554.37, 659.25])
    return (0.2 * np.sin(2 * np.pi * note * time))[None].astype(np.float32)


def main(photograph_path: str, target: str) -> None:
    """Film the photograph and write the clip."""
    photograph = read_image(photograph_path)
    with av.open(target, "w") as output:
        video = output.add_stream("libx264", rate=FRAME_RATE, options={"crf": "14", "preset": "slow"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = output.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for index in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(film(photograph, index), format="rgb24")
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        samples = melody()
        for start in range(0, samples.shape[1], 1024):
            block = av.AudioFrame.from_ndarray(samples[:, start : start + 1024].copy(), format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
            output.mux(sound.encode(block))
        output.mux(sound.encode(None))


if __name__ == "__main__":
    main(*sys.argv[1:3])
