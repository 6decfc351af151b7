"""Sizes of outputs by factor, number and name."""

from __future__ import annotations

from fractions import Fraction

import pytest

from fmanet_cli.video.write.sizes import output_size

SQUARE, NARROW, WIDE = Fraction(1), Fraction(8, 9), Fraction(64, 45)


@pytest.mark.parametrize(
    ("stored", "aspect", "name", "expected"),
    [
        ((54, 96), SQUARE, "1080p", (1080, 1920)),
        ((96, 54), SQUARE, "1080p", (1920, 1080)),
        ((96, 54), SQUARE, "720p", (1280, 720)),
        ((50, 50), SQUARE, "480p", (480, 480)),
        ((96, 54), SQUARE, "4k", (3840, 2160)),
        ((576, 720), WIDE, "1080p", (1080, 1350)),
        ((480, 500), NARROW, "1080p", (1036, 1080)),
        ((70, 33), SQUARE, "480p", (1018, 480)),
    ],
)
def test_a_name_means_the_shorter_side_as_shown(
    stored: tuple[int, int], aspect: Fraction, name: str, expected: tuple[int, int]
) -> None:
    """Rotation does not change which side is the shorter one, so portrait clips of both kinds give the same size."""
    assert output_size(*stored, scale=4, size=name, aspect=aspect) == expected


def test_numbers_and_factors_are_taken_as_they_are() -> None:
    assert output_size(96, 54, scale=2, size=None) == (192, 108)
    assert output_size(96, 54, scale=4, size="101x57") == (57, 101)
