"""The network against the published network's outputs for the same weights and inputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fmanet_cli.model.config import PAPER
from fmanet_cli.model.fmanet import FMANet
from support.golden_weights import FOLDER, golden_model, read_golden

TOLERANCE = {torch.float32: 1e-4, torch.float64: 2e-5}


def outputs(model: FMANet, arrays: dict[str, np.ndarray], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    window = torch.from_numpy(arrays["x"]).to(dtype)
    with torch.no_grad():
        degradation = model.degradation_learning_network(window)
        restoration = model.restoration_network(window, degradation)
        found = {
            "F": degradation.features,
            "f": degradation.flow_masks,
            "KD": degradation.kernel_logits,
            "output": restoration.restored,
            "lr_warp": restoration.warped_window,
        }
        if "y" in arrays:
            training = model.forward_training(window, torch.from_numpy(arrays["y"]).to(dtype))
            assert torch.equal(training.restored, restoration.restored)
            found |= {
                "recon": training.reconstruction,
                "hr_warp": training.warped_sharp,
                "f_Y": training.flow_mask,
                "F_sharp_D": training.anchor_degradation,
                "F_sharp_R": training.anchor_restoration,
            }
    return found


@pytest.mark.parametrize("folded", [False, True], ids=["plain", "folded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", ["small_t3", "small_t5", "paper_t3"])
def test_every_array_agrees(name: str, dtype: torch.dtype, folded: bool) -> None:
    arrays, meta, config = read_golden(name)
    model = golden_model(config, meta["weight_seed"], dtype).fold_frames(folded)
    found = outputs(model, arrays, dtype)
    compared = set(arrays) - {"x", "y"}
    assert compared <= set(found)
    for key in compared:
        difference = (found[key].double() - torch.from_numpy(arrays[key]).double()).abs().max().item()
        assert difference <= TOLERANCE[dtype], f"{key} differs by {difference}"


def test_forward_is_the_restored_frame_of_the_golden_file() -> None:
    arrays, meta, config = read_golden("small_t3")
    model = golden_model(config, meta["weight_seed"], torch.float32)
    with torch.no_grad():
        restored = model(torch.from_numpy(arrays["x"]))
    assert np.abs(restored.numpy() - arrays["output"]).max() <= 1e-4


def test_parameter_names_shapes_and_counts_are_the_published_ones() -> None:
    published = json.loads(Path(FOLDER / "state_dict_paper.json").read_text())
    model = FMANet(PAPER)
    for prefix in ("degradation_learning_network", "restoration_network"):
        (tensors,) = (value for key, value in published.items() if key.startswith(prefix))
        ours = {name: list(value.shape) for name, value in getattr(model, prefix).state_dict().items()}
        assert ours == tensors
    assert model.count_parameters() == 9_766_503
