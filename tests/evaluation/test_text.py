"""Characters read right, by the packaged models where they are installed."""

from __future__ import annotations

import importlib.util

import cv2
import numpy as np
import pytest

from fmanet_cli.dataset.resampling import enlarge, shrink
from fmanet_cli.errors import OptionError
from fmanet_cli.evaluation.text import TextLine, TextRead, TextReader, _cut, edit_distance


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("same", "same", 0)],
)
def test_edits_between_two_texts(a: str, b: str, distance: int) -> None:
    assert edit_distance(a, b) == distance


def test_without_the_packages_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(OptionError, match=r"needs the packages rapidocr and onnxruntime: pip install .*\[ocr\]"):
        TextReader()


def test_a_slanting_place_is_cut_out_upright() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    corners = np.array([[20, 10], [60, 20], [57, 32], [17, 22]], np.float32)
    cv2.fillPoly(image, [corners.astype(np.int32)], (200, 200, 200))
    cut = _cut(image, corners)
    assert cut.shape == (12, 41, 3)
    assert cut[2:-2, 2:-2].min() > 150
    downwards = _cut(image, corners[[3, 0, 1, 2]])
    assert downwards.shape == (12, 41, 3), "a line that runs downwards is turned"


@pytest.mark.slow
def test_a_sharp_line_is_read_and_a_blurred_one_less() -> None:
    pytest.importorskip("rapidocr", reason="needs the extra ocr")
    truth = np.full((128, 480, 3), 235, np.uint8)
    for row, words in enumerate(("WALK SLOWLY 4827", "quiet harbour 1963")):
        cv2.putText(truth, words, (12, 44 + 56 * row), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (20, 30, 60), 3, cv2.LINE_AA)
    reader = TextReader()
    lines = reader.find(truth)
    assert sorted(line.text for line in lines) == ["WALKSLOWLY4827", "quietharbour1963"]
    assert reader.read(truth, lines) == TextRead(readable=30, right=30)
    blurred = cv2.GaussianBlur(truth, (0, 0), 9)
    assert reader.read(blurred, lines).right < 10
    assert reader.read(enlarge(shrink(truth)), lines).right > reader.read(blurred, lines).right
    assert reader.find(np.full((64, 64, 3), 90, np.uint8)) == []
    assert reader.find(truth), "an empty image changes nothing for the next"
    assert reader.read(truth, [TextLine(lines[0].corners, "##########")]).right == 0
