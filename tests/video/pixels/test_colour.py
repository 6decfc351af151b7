"""Conversion between planes and RGB against slow arithmetic, and its round trips."""

from __future__ import annotations

import numpy as np
import pytest

from fmanet_cli.errors import OptionError
from fmanet_cli.video.pixels.colour import Colour, guessed_matrix, parse_colour, planes_to_rgb, rgb_to_planes

SHIFTS = {"420": (1, 1), "422": (1, 0), "444": (0, 0)}
WEIGHTS = {6: (0.299, 0.587, 0.114), 1: (0.2126, 0.7152, 0.0722), 9: (0.2627, 0.6780, 0.0593)}


def slow_rgb(luma: float, blue: float, red: float, matrix: int, bits: int, full_range: bool) -> tuple[float, ...]:
    """One pixel, written out as in the recommendations."""
    kr, kg, kb = WEIGHTS[matrix]
    if full_range:
        y = luma / (2**bits - 1)
        pb, pr = ((c - 2 ** (bits - 1)) / (2**bits - 1) for c in (blue, red))
    else:
        y = (luma / 2 ** (bits - 8) - 16) / 219
        pb, pr = ((c / 2 ** (bits - 8) - 128) / 224 for c in (blue, red))
    r = y + 2 * (1 - kr) * pr
    b = y + 2 * (1 - kb) * pb
    g = (y - kr * r - kb * b) / kg
    return tuple(min(1.0, max(0.0, value)) for value in (r, g, b))


def smooth_image(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = columns / width, rows / height
    red = 0.5 + 0.45 * np.sin(5 * x + 0.3) * np.cos(4 * y)
    green = 0.5 + 0.45 * np.cos(4 * x + 5 * y)
    blue = 0.5 + 0.45 * np.sin(6 * y - 3 * x)
    return np.stack([red, green, blue], axis=-1).astype(np.float32)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("matrix", [6, 1, 9])
def test_flat_planes_become_the_rgb_of_the_recommendation(matrix: int, bits: int, full_range: bool) -> None:
    random = np.random.default_rng(0)
    kind = np.uint8 if bits == 8 else np.uint16
    for _ in range(20):
        codes = random.integers(0, 2**bits, 3)
        planes = [np.full(shape, code, kind) for shape, code in zip([(6, 8), (3, 4), (3, 4)], codes, strict=True)]
        rgb = planes_to_rgb(planes, colour=Colour(matrix, full_range), bits=bits)
        assert rgb.dtype == np.float32
        assert np.abs(rgb - slow_rgb(*codes, matrix, bits, full_range)).max() < 2e-6


@pytest.mark.parametrize("size", [(90, 160), (91, 161), (1, 1)])
@pytest.mark.parametrize("subsampling", ["420", "422", "444"])
@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", [5, 6, 1, 7, 9])
def test_codes_survive_a_round_trip(
    matrix: int, full_range: bool, bits: int, subsampling: str, size: tuple[int, int]
) -> None:
    colour = Colour(matrix, full_range)
    horizontal, vertical = SHIFTS[subsampling]
    options = {"colour": colour, "bits": bits, "horizontal_shift": horizontal, "vertical_shift": vertical}
    planes = rgb_to_planes(smooth_image(*size), **options)
    again = rgb_to_planes(planes_to_rgb(planes, colour=colour, bits=bits), **options)
    assert planes[1].shape == ((size[0] + vertical) >> vertical, (size[1] + horizontal) >> horizontal)
    largest = max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(planes, again, strict=True))
    assert largest <= {8: 1, 10: 1, 12: 4}[bits]


@pytest.mark.parametrize(("bits", "decibels"), [(8, 52.0), (10, 63.0)])
def test_smooth_rgb_survives_420(bits: int, decibels: float) -> None:
    colour, rgb = Colour(1, False), smooth_image(90, 160)
    planes = rgb_to_planes(rgb, colour=colour, bits=bits, horizontal_shift=1, vertical_shift=1)
    error = planes_to_rgb(planes, colour=colour, bits=bits) - rgb
    assert -10 * np.log10((error**2).mean()) > decibels


@pytest.mark.parametrize(
    ("location", "centre"),
    [
        ("left", (0.5, 0.0)),
        ("centre", (0.5, 0.5)),
        ("top-left", (0.0, 0.0)),
        ("top", (0.0, 0.5)),
        ("bottom", (1.0, 0.5)),
    ],
)
def test_chroma_lies_where_its_location_says(location: str, centre: tuple[float, float]) -> None:
    """A chroma plane that rises evenly must give each luma position the value of that position."""
    rows, columns = np.mgrid[:20, :20]
    codes = (60 + 4 * rows + 2 * columns).astype(np.uint8)
    neutral = np.full((20, 20), 128, np.uint8)
    rgb = planes_to_rgb(
        [np.full((40, 40), 126, np.uint8), codes, neutral], colour=Colour(1, True, 2, 2, location), bits=8
    )
    y, x = np.mgrid[:40, :40]
    expected = 60 + 4 * (y - centre[0]) / 2 + 2 * (x - centre[1]) / 2
    blue = 126 / 255 + 2 * (1 - 0.0722) * (expected - 128) / 255
    inner = slice(6, -6)
    assert np.abs(rgb[inner, inner, 2] - np.clip(blue, 0, 1)[inner, inner]).max() < 1e-5


@pytest.mark.parametrize("location", ["left", "centre", "top-left", "top", "bottom-left", "bottom"])
def test_chroma_is_put_back_where_it_was_taken(location: str) -> None:
    colour = Colour(6, False, chroma_location=location)
    options = {"colour": colour, "bits": 8, "horizontal_shift": 1, "vertical_shift": 1}
    planes = rgb_to_planes(smooth_image(90, 160), **options)
    again = rgb_to_planes(planes_to_rgb(planes, colour=colour, bits=8), **options)
    assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(planes, again, strict=True)) <= 1


def test_rare_subsampling_is_enlarged() -> None:
    planes = [np.full((8, 16), 100, np.uint8), np.full((2, 4), 90, np.uint8), np.full((2, 4), 140, np.uint8)]
    rgb = planes_to_rgb(planes, colour=Colour(6, False), bits=8)
    assert np.abs(rgb - slow_rgb(100, 90, 140, 6, 8, full_range=False)).max() < 2e-6


def test_luma_alone_is_grey() -> None:
    rgb = planes_to_rgb([np.array([[16, 235, 0, 255]], np.uint8)], colour=Colour(1, False), bits=8)
    assert rgb.shape == (1, 4, 3)
    assert np.abs(rgb[0, :, 1] - [0, 1, 0, 1]).max() < 1e-6


def test_values_outside_are_clipped() -> None:
    image = np.array([[[-1.0, -1.0, -1.0], [2.0, 2.0, 2.0]]], np.float32)
    luma, blue, _ = rgb_to_planes(image, colour=Colour(1, False), bits=8, horizontal_shift=0, vertical_shift=0)
    assert luma.tolist() == [[16, 235]]
    assert blue.tolist() == [[128, 128]]


def test_untagged_frames_follow_the_usual_rule() -> None:
    sizes = [(480, 720), (576, 720), (720, 1280), (1080, 1920), (360, 1280), (719, 1279)]
    assert [guessed_matrix(*size) for size in sizes] == [6, 5, 1, 1, 1, 6]


def test_colour_words() -> None:
    assert parse_colour("auto") == (None, None)
    assert parse_colour("bt601-full") == (6, True)
    assert parse_colour("limited") == (None, False)
    with pytest.raises(OptionError, match="colour 'sepia' is not known"):
        parse_colour("sepia")
    for twice in ("bt709-full-full", "bt709-bt601", "full-limited"):
        with pytest.raises(OptionError, match=f"colour '{twice}' is not known"):
            parse_colour(twice)


def test_unknown_matrix_is_refused() -> None:
    with pytest.raises(OptionError, match="colour matrix 14 is not supported"):
        Colour(14, False)
