"""Restores frames without files: any iterable of frames in, an iterator of restored frames out.

python examples/restore_frames.py
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from fmanet_cli import Frame, Restorer, load_model

noise = np.random.default_rng(0).random((5, 32, 48, 3), dtype=np.float32)
frames = (Frame(image, pts=index, time_base=Fraction(1, 25)) for index, image in enumerate(noise))
for frame in Restorer(load_model("lite")).restore(frames):
    print(f"frame at {frame.seconds:.2f} s is now {frame.image.shape[1]}x{frame.image.shape[0]}")
