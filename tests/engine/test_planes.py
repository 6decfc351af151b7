"""Planes made on the device are those of the array code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fmanet_cli.engine.planes import planar_codes
from fmanet_cli.engine.transfer import as_array
from fmanet_cli.video.pixels.colour import Colour, PlaneFormat, rgb_to_planes

SHIFTS = {"420": (1, 1), "422": (1, 0), "444": (0, 0)}


def noisy_image(height: int, width: int) -> np.ndarray:
    """(H, W, 3) float32, a little beyond [0, 1]."""
    return np.random.default_rng(height).uniform(-0.1, 1.1, (height, width, 3)).astype(np.float32)


def assert_same_codes(image: np.ndarray, plane_format: PlaneFormat, device: str = "cpu") -> None:
    expected = rgb_to_planes(
        image,
        colour=plane_format.colour,
        bits=plane_format.bits,
        horizontal_shift=plane_format.horizontal_shift,
        vertical_shift=plane_format.vertical_shift,
    )
    tensor = torch.from_numpy(image).permute(2, 0, 1).to(device)
    found = [as_array(plane.cpu()) for plane in planar_codes(tensor, plane_format)]
    assert [plane.shape for plane in found] == list(plane_format.shapes(*image.shape[:2]))
    assert [plane.dtype for plane in found] == [plane_format.dtype] * 3
    errors = [np.abs(plane.astype(int) - truth) for plane, truth in zip(found, expected, strict=True)]
    # 16-bit codes are finer than float32 arithmetic in another order.
    assert max(error.max() for error in errors) <= (1 if plane_format.bits <= 12 else 2)
    if plane_format.bits <= 12:
        samples = sum(error.size for error in errors)
        rare = {8: 1e-4, 10: 4e-4, 12: 2e-3}[plane_format.bits]
        assert sum(np.count_nonzero(error) for error in errors) <= max(2, rare * samples)


@pytest.mark.parametrize("size", [(300, 161), (257, 64), (130, 5), (3, 4), (2, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("subsampling", SHIFTS)
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])
def test_equals_the_array_code(size: tuple[int, int], subsampling: str, bits: int, full_range: bool) -> None:
    assert_same_codes(noisy_image(*size), PlaneFormat(Colour(1, full_range), bits, *SHIFTS[subsampling]))


@pytest.mark.parametrize("matrix", [1, 4, 5, 6, 7, 9])
@pytest.mark.parametrize("location", ["unspecified", "left", "centre", "top-left", "top", "bottom-left", "bottom"])
def test_equals_the_array_code_for_every_matrix_and_chroma_location(matrix: int, location: str) -> None:
    colour = Colour(matrix, False, chroma_location=location)
    assert_same_codes(noisy_image(270, 161), PlaneFormat(colour, 8, 1, 1))


def test_white_black_and_green_have_the_codes_of_the_recommendation() -> None:
    image = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])[:, None]
    planes = planar_codes(image, PlaneFormat(Colour(1, False), 10, 0, 0))
    # BT.709, ten bits, limited range: Y' = 64 + 876 * 0.7152, Cb = 512 - 896 * 0.7152 / 1.8556, Cr likewise.
    assert [as_array(plane).tolist() for plane in planes] == [[[940, 64, 691]], [[512, 512, 167]], [[512, 512, 105]]]


def test_codes_above_the_signed_range_arrive_whole() -> None:
    planes = planar_codes(torch.ones(3, 2, 2), PlaneFormat(Colour(1, True), 16, 0, 0))
    assert as_array(planes[0]).tolist() == [[65535, 65535], [65535, 65535]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("subsampling", SHIFTS)
@pytest.mark.parametrize("bits", [8, 10, 16])
def test_equals_the_array_code_on_a_gpu(subsampling: str, bits: int) -> None:
    for size in ((720, 1280), (257, 161), (2, 1)):
        assert_same_codes(noisy_image(*size), PlaneFormat(Colour(9, False), bits, *SHIFTS[subsampling]), "cuda")
