"""Text planes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fmanet_cli.errors import TrainingError
from fmanet_cli.training.text import TextPlanes

PIL = pytest.importorskip("PIL")


@pytest.fixture(scope="module")
def fonts(tmp_path_factory) -> Path:
    """One font, as Pillow carries it."""
    from PIL import ImageFont

    folder = tmp_path_factory.mktemp("fonts")
    font = ImageFont.load_default(20)
    if not hasattr(font, "font_bytes"):
        pytest.skip("Pillow without FreeType")
    (folder / "carried.ttf").write_bytes(font.font_bytes)
    return folder


def test_planes_hold_ink_on_their_panel_in_two_colours(fonts):
    planes = TextPlanes(fonts)
    covered, differences = [], []
    for seed in range(12):
        plane = planes.draw(192, 96, np.random.default_rng(seed))
        assert plane.ink.shape == plane.panel.shape == (192, 192, 1)
        assert bool((plane.ink <= plane.panel + 1e-6).all())
        covered.append(float(plane.ink.mean()))
        differences.append(float(np.abs(plane.colour - plane.paper).max()))
    assert min(covered) > 0.0005 and max(covered) < 0.7
    assert min(differences) > 0.05 and max(differences) > 0.5


def test_a_plane_depends_on_its_numbers_alone(fonts):
    first, again = (TextPlanes(fonts).draw(128, 64, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first.ink, again.ink)


def test_folders_without_fonts_are_refused(tmp_path, fonts):
    with pytest.raises(TrainingError, match=r"no fonts in .*; it needs files ending in .ttf"):
        TextPlanes(tmp_path)
    with pytest.raises(TrainingError, match="missing is not a folder; give a folder of fonts"):
        TextPlanes(tmp_path / "missing")
    shutil.copy(fonts / "carried.ttf", tmp_path / "a.ttf")
    (tmp_path / "b.ttf").write_bytes(b"no font")
    with pytest.raises(TrainingError, match=r"cannot read the font .*b.ttf"):
        TextPlanes(tmp_path)
