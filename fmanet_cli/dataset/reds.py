"""Where the authors' training code and the REDS website put the frames of REDS."""

from __future__ import annotations

SHARP_FOLDER = "train_sharp"
"""Folder of the sharp frames, 1280x720."""

BLURRY_FOLDER = "train_blur_bicubic/X4"
"""Folder of the blurred and bicubically reduced frames, 320x180."""

FLOW_FOLDER = "train_flow_bicubic/X4"
"""Folder of the optical flows between neighbouring sharp frames, 320x180."""

REDS4_CLIPS = ("000", "011", "015", "020")
"""Clips of the training set that the paper tests on and does not train on (section 4)."""
