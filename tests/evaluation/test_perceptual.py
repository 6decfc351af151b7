"""LPIPS with and without its package."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fmanet_cli.errors import OptionError
from fmanet_cli.evaluation.perceptual import PerceptualDistance


def test_without_the_package_it_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(OptionError, match="LPIPS needs the package lpips, which is not installed: pip install lpips"):
        PerceptualDistance()


def test_images_are_handed_over_in_the_packages_range(monkeypatch):
    class Distance(torch.nn.Module):
        def forward(self, restored, truth):
            assert restored.shape == (1, 3, 4, 6)
            return (restored - truth).mean().reshape(1, 1, 1, 1)

    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=lambda **_options: Distance()))
    assert PerceptualDistance()(np.full((4, 6, 3), 255, np.uint8), np.zeros((4, 6, 3), np.uint8)) == 2
