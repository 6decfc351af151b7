"""The REDS4 protocol of the FMA-Net paper and the figures it published, as data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fmanet_cli.dataset.clips import Clip, MatchedClip, find_clips
from fmanet_cli.dataset.reds import BLURRY_FOLDER, REDS4_CLIPS, SHARP_FOLDER
from fmanet_cli.errors import EvaluationError
from fmanet_cli.evaluation.report import MeanScores


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """What a paper prints for one method on REDS4 (RGB)."""

    method: str
    """Name as printed; * means retrained on REDS for the joint task."""
    mean: MeanScores
    """Average over the four clips."""
    clips: Mapping[str, MeanScores]
    """One a clip, by name; empty where the paper prints the average alone."""


_PRINTED = """
HOFFR        27.24 0.7870 -
Restormer*   27.29 0.7850 2.71  26.51 0.7551 0.47  27.09 0.7695 3.53  30.03 0.8579 2.82  25.52 0.7573 4.04
GShiftNet*   25.77 0.7275 2.96  24.66 0.6730 0.93  25.66 0.7190 3.47  28.05 0.7995 3.50  24.69 0.7187 3.93
BasicVSR++*  27.06 0.7752 2.70  25.90 0.7234 0.57  27.07 0.7699 3.36  29.67 0.8475 3.01  25.58 0.7601 3.86
RVRT*        27.80 0.8025 2.40  26.84 0.7764 0.38  27.76 0.7903 2.95  30.66 0.8694 2.60  25.93 0.7740 3.65
FMA-Net_s    28.46 0.8212 2.08  27.08 0.7852 0.33  28.73 0.8164 2.46  30.98 0.8745 2.42  27.03 0.8089 3.10
FMA-Net      28.83 0.8315 1.92  27.19 0.7904 0.32  29.38 0.8308 2.19  31.36 0.8814 2.37  27.51 0.8232 2.79
"""
"""PSNR in dB, SSIM and tOF in pixels: of all four clips together, then of each in the order of `REDS4_CLIPS`."""


def _read_row(line: str) -> PublishedRow:
    method, *words = line.split()
    figures = iter(None if word == "-" else float(word) for word in words)
    mean, *clips = (MeanScores(*triple) for triple in zip(figures, figures, figures, strict=True))
    return PublishedRow(method, mean, dict(zip(REDS4_CLIPS, clips, strict=False)))


PUBLISHED = tuple(map(_read_row, _PRINTED.strip().splitlines()))
"""Joint methods of the paper's Table 1, per clip from its supplement's Table 9.

The paper's own clips of FMA-Net average 28.86 dB, not the printed 28.83 dB.
"""


def find_reds4(root: Path) -> list[MatchedClip]:
    """Return the four clips below `root`, blurry against sharp. Raises EvaluationError if a folder is missing."""
    return [
        MatchedClip(name, _clip(root / BLURRY_FOLDER / name), _clip(root / SHARP_FOLDER / name)) for name in REDS4_CLIPS
    ]


def _clip(folder: Path) -> Clip:
    if not os.path.isdir(folder):
        raise EvaluationError(
            f"no folder {folder}: REDS4 needs {SHARP_FOLDER}/CLIP and {BLURRY_FOLDER}/CLIP for {', '.join(REDS4_CLIPS)}"
        )
    (clip,) = find_clips(folder)
    return clip
