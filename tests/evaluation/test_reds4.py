"""The protocol and the printed figures of the paper."""

from __future__ import annotations

import numpy as np
import pytest

from fmanet_cli.dataset.reds import REDS4_CLIPS
from fmanet_cli.errors import EvaluationError
from fmanet_cli.evaluation.reds4 import PUBLISHED, find_reds4


def test_the_four_clips_are_found_in_the_published_layout(write_frames):
    for name in REDS4_CLIPS:
        sharp = write_frames(f"REDS/train_sharp/{name}", [np.zeros((8, 8, 3))])
        write_frames(f"REDS/train_blur_bicubic/X4/{name}", [np.zeros((2, 2, 3))])
    found = find_reds4(sharp.parents[1])
    assert [pair.name for pair in found] == ["000", "011", "015", "020"]
    assert found[1].candidate.files[0].parent.parts[-3:] == ("train_blur_bicubic", "X4", "011")
    assert found[1].truth.files[0].parent.parts[-2:] == ("train_sharp", "011")


def test_a_missing_clip_is_named(tmp_path):
    with pytest.raises(EvaluationError, match=r"no folder .*000: REDS4 needs train_sharp/CLIP"):
        find_reds4(tmp_path)


def test_printed_means_agree_with_printed_clips():
    rows = {row.method: row for row in PUBLISHED}
    assert rows["FMA-Net"].mean.psnr == 28.83
    assert rows["FMA-Net"].clips["020"].tof == 2.79
    for row in PUBLISHED:
        for figure, tolerance in (
            ("psnr", 0.035 if row.method == "FMA-Net" else 0.011),
            ("ssim", 1e-4),
            ("tof", 0.011),
        ):
            printed = [getattr(clip, figure) for clip in row.clips.values()]
            if printed:
                assert np.mean(printed) == pytest.approx(getattr(row.mean, figure), abs=tolerance), row.method
