"""Restores a video with the embedded weights, in two lines.

python examples/restore_a_video.py examples/street.mp4 sharp.mp4
"""

from __future__ import annotations

import sys

from fmanet_cli import load_model, restore_video

report = restore_video(sys.argv[1], sys.argv[2], load_model("lite"))
print(f"{report.frames} frames in {report.seconds:.1f} s: {report.target}")
