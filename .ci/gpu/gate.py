"""Holds gradients of a device against those of the CPU, both kinds of step; fails where they differ."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from fmanet_cli.dataset.imaging.mixture import uncoded_mixture
from fmanet_cli.training.losses import restoration_loss
from fmanet_cli.training.photo_library import load_photos
from fmanet_cli.training.photos import PhotoOptions, PhotoWindows
from fmanet_cli.training.recipes import find_recipe
from fmanet_cli.training.widen import is_widening, widen
from fmanet_cli.training.windows import WindowBatch
from fmanet_cli.weights.checkpoint import load_model

LIMITS = {"fp32": 1e-3, "bf16": 0.2}
"""Largest difference of all gradients together, over their length. A CPU's own bfloat16 is 0.066 off with the weights
of lite; what a wrong kernel writes is off by one or more."""


def main() -> None:
    """Print the differences; end with 1 where one is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".gpu"))
    parser.add_argument("--recipe", default="base")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    recipe = find_recipe(options.recipe)
    model = load_model(str(options.folder / "start.safetensors"))
    if is_widening(model.config, recipe.config):
        model = widen(model, recipe.config)
    windows = PhotoOptions(window_pixels=recipe.window_pixels, batch_windows=2, mixture=uncoded_mixture())
    library = load_photos(options.folder / "validate.zip", smallest_side=windows.texture_pixels)
    batch = PhotoWindows(library, windows, seed=1).batch(0)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    wrong = 0
    for rebuild in (True, False):
        expected = gradients(model, batch, "cpu", rebuild, half=False)
        for precision, limit in LIMITS.items():
            found = gradients(model, batch, options.device, rebuild, half=precision == "bf16")
            difference = float((found - expected).norm() / expected.norm())
            print(f"gradients on {options.device}, {precision}, rebuild {rebuild}: {difference:.1e} off", flush=True)
            wrong += not difference <= limit
    sys.exit(bool(wrong))


def gradients(model: torch.nn.Module, batch: WindowBatch, device: str, rebuild: bool, *, half: bool) -> torch.Tensor:
    """All gradients of one batch in one vector, on the CPU."""
    model = model.to(device).train()
    model.fold_frames()
    moved = batch.to(torch.device(device))
    with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=half):
        outputs = model.forward_training(moved.blurry, moved.sharp if rebuild else None)
    loss = restoration_loss(outputs, moved, find_recipe("base").weights)
    found = torch.autograd.grad(loss.total, list(model.parameters()))
    return torch.cat([gradient.flatten().cpu() for gradient in found])


if __name__ == "__main__":
    main()
