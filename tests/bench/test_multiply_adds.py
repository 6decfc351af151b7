"""Multiply-adds are counted as they run."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch.nn import functional as F

from fmanet_cli.bench import matrix_peak
from fmanet_cli.bench.matrix_peak import MatrixPeak, measure_matrix_peak
from fmanet_cli.bench.multiply_adds import count_multiply_adds

IMAGE = torch.ones(1, 4, 8, 9)
MATRIX = torch.ones(3, 4)

CASES = {
    "convolution": (lambda: F.conv2d(IMAGE, torch.ones(6, 4, 3, 3), padding=1), 8 * 9 * 6 * 4 * 9),
    "groups": (lambda: F.conv2d(IMAGE, torch.ones(6, 2, 3, 3), padding=1, groups=2), 8 * 9 * 6 * 2 * 9),
    "stride": (lambda: F.conv2d(IMAGE, torch.ones(6, 4, 1, 1), stride=2), 4 * 5 * 6 * 4),
    "transposed": (lambda: F.conv_transpose2d(IMAGE, torch.ones(4, 6, 2, 2), stride=2), 8 * 9 * 4 * 6 * 4),
    "three dimensions": (lambda: F.conv3d(torch.ones(1, 3, 5, 8, 9), torch.ones(2, 3, 3, 1, 1)), 3 * 8 * 9 * 2 * 9),
    "matrix": (lambda: MATRIX @ MATRIX.t(), 3 * 4 * 3),
    "added in place": (lambda: torch.ones(3, 3).addmm_(MATRIX, MATRIX.t()), 3 * 4 * 3),
    "batch added in place": (
        lambda: torch.ones(2, 5, 6).baddbmm_(torch.ones(2, 5, 4), torch.ones(2, 4, 6)),
        2 * 5 * 4 * 6,
    ),
    "batch": (lambda: torch.ones(2, 5, 3, 4) @ torch.ones(2, 5, 4, 6), 10 * 3 * 4 * 6),
    "einsum": (lambda: torch.einsum("ij,kj->ik", MATRIX, MATRIX), 3 * 4 * 3),
    "linear": (lambda: F.linear(MATRIX, torch.ones(7, 4), torch.ones(7)), 3 * 4 * 7),
    "elementwise": (lambda: MATRIX * MATRIX + MATRIX, 0),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("inference", [False, True])
def test_multiply_adds_of_one_operation(name, inference):
    compute, expected = CASES[name]
    with torch.inference_mode(inference):
        assert count_multiply_adds(compute) == expected


def test_counting_leaves_results_alone_and_ends():
    results = []
    weight = torch.randn(5, 4, 3, 3)
    count_multiply_adds(lambda: results.append(F.conv2d(IMAGE, weight)))
    torch.testing.assert_close(results[0], F.conv2d(IMAGE, weight))
    assert count_multiply_adds(lambda: None) == 0


def test_the_matrix_peak_is_the_better_of_two_rates(monkeypatch):
    asked = []
    monkeypatch.setattr(
        matrix_peak,
        "exact_float32",
        lambda *device_and_precision: asked.append(device_and_precision) or contextlib.nullcontext(),
    )
    assert MatrixPeak(2.0, 3.0).best_macs_per_second == 3.0
    peak = measure_matrix_peak(torch.device("cpu"), "fp32")
    assert min(peak.convolution_macs_per_second, peak.product_macs_per_second) > 1e8
    assert peak.best_macs_per_second < 1e14
    assert asked == [(torch.device("cpu"), "fp32")]
