"""Write one frame before (bicubic) and after, side by side, as a PNG; of an area of it if one is given.

python examples/compare_a_frame.py examples/street.mp4 sharp.mp4 12 comparison.png
python examples/compare_a_frame.py examples/street.mp4 sharp.mp4 12 examples/before-after.png 30 0 380 340
"""

from __future__ import annotations

import sys
from itertools import islice

import numpy as np

from fmanet_cli import VideoReader, resize_image, write_image


def image_of(path: str, index: int) -> np.ndarray:
    """Return the image of frame `index`, (H, W, 3) float32."""
    with VideoReader(path) as reader:
        return next(islice(reader, index, None)).image


before, after = (image_of(path, int(sys.argv[3])) for path in sys.argv[1:3])
sides = [resize_image(before, *after.shape[:2]), after]
if len(sys.argv) > 5:
    left, top, width, height = map(int, sys.argv[5:9])
    sides = [side[top : top + height, left : left + width] for side in sides]
write_image(sys.argv[4], np.concatenate(sides, axis=1))
