"""Weights drawn from each parameter's name, and the network's outputs for them, as the golden files were made."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fmanet_cli.model.config import FMANetConfig
from fmanet_cli.model.fmanet import FMANet

FOLDER = Path(__file__).parents[1] / "model" / "golden"
FIELDS = {
    "num_seq": "num_frames",
    "dim": "dim",
    "num_RDB": "num_rdbs",
    "growth_rate": "growth",
    "num_dense_layer": "num_dense_layers",
    "num_flow": "num_flows",
    "num_FRMA": "num_frma_blocks",
    "num_transformer_block": "num_attention_blocks",
    "num_heads": "num_heads",
    "ffn_expansion_factor": "ffn_expansion",
    "ds_kernel_size": "degradation_kernel_size",
    "us_kernel_size": "restoration_kernel_size",
    "scale": "scale",
}


def read_golden(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any], FMANetConfig]:
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files if key != "meta"}
        meta = json.loads(str(file["meta"]))
    config = FMANetConfig(**{ours: meta["config"][theirs] for theirs, ours in FIELDS.items()})
    return arrays, meta, config


def gain(name: str) -> float:
    value = 1.0
    if name.endswith(("conv_f.2.weight", "f_conv2.2.weight")):
        value = 0.8
    if name.endswith(("f_conv.2.weight", "f_conv3.2.weight")):
        value = 6.0
    if "project_out" in name or (name.endswith(".conv.weight") and "layer" not in name):
        value = 0.3
    return value


def golden_tensor(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    draw = np.random.default_rng(zlib.crc32(name.encode()) + seed).standard_normal(shape)
    if name.endswith("temperature"):
        draw = 1 + 0.5 * np.abs(draw)
    elif ".body.weight" in name:
        draw = 1 + 0.1 * draw
    elif ".body.bias" in name:
        draw = 0.1 * draw
    else:
        # A bias has no shape[1:]; the golden files divide it by the root of its own length.
        draw = gain(name) * draw / np.sqrt(np.prod(shape[1:] or shape))
    return torch.from_numpy(draw)


def golden_model(config: FMANetConfig, seed: int, dtype: torch.dtype) -> FMANet:
    model = FMANet(config).to(dtype).eval()
    model.load_state_dict(
        {name: golden_tensor(name, tuple(value.shape), seed) for name, value in model.state_dict().items()}
    )
    return model
