"""Writes one frame before (bicubic) and after, side by side, as a PNG.

python examples/compare_a_frame.py examples/street.mp4 sharp.mp4 12 comparison.png
"""

from __future__ import annotations

import sys
from itertools import islice

import numpy as np

from fmanet_cli import VideoReader
from fmanet_cli.restore.resize import resize_image
from fmanet_cli.video.read.images import write_image


def picture(path: str, index: int) -> np.ndarray:
    """The image of frame `index`, (H, W, 3) float32."""
    with VideoReader(path) as reader:
        return next(islice(reader, index, None)).image


before, after = (picture(path, int(sys.argv[3])) for path in sys.argv[1:3])
write_image(sys.argv[4], np.concatenate((resize_image(before, *after.shape[:2]), after), axis=1))
