"""The authors' checkpoints: two pickled state dictionaries whose shapes say which network they belong to."""

from __future__ import annotations

import math
import pickle
import re
import warnings
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fmanet_cli.errors import OptionError, WeightsError
from fmanet_cli.model.config import FLOW_MASK_CHANNELS, PAPER, SCALE, FMANetConfig
from fmanet_cli.model.fmanet import ColourOrder, FMANet
from fmanet_cli.weights.checkpoint import build_model
from fmanet_cli.weights.upstream.archive import UpstreamPair

_PREFIXES = {"D": "degradation_learning_network.", "R": "restoration_network."}
_ELEMENTS_LIMIT = 1 << 30


def read_upstream_model(pair: UpstreamPair, *, colour_order: ColourOrder) -> FMANet:
    """Build the network of the authors' two files; which of them is which is taken from their content.

    Everything beside the two state dictionaries is ignored. Raises `WeightsError` for damaged pickles, pickles that
    hold code, missing or unexpected tensors, and shapes that fit no network.
    """
    tensors: dict[str, Tensor] = {}
    parts: dict[str, str] = {}
    for path, source in zip((pair.degradation, pair.restoration), pair.source_files[-2:], strict=True):
        part, state = _read_state(path, source.name)
        if part in parts:
            raise WeightsError(f"{parts[part]} and {source.name} both hold model_{part}_state_dict: give one D, one R")
        parts[part] = source.name
        tensors.update({_PREFIXES[part] + name: tensor for name, tensor in state.items()})
    origin = f"{parts['D']} and {parts['R']}"
    # A tensor in a pickle can claim any size over a few stored bytes.
    if sum(tensor.numel() for tensor in tensors.values()) > _ELEMENTS_LIMIT:
        raise WeightsError(f"{origin} claim more than {_ELEMENTS_LIMIT:,} parameters: not weights of this network")
    config = infer_config({name: tuple(tensor.shape) for name, tensor in tensors.items()}, origin=origin)
    return build_model(config, tensors, colour_order=colour_order, origin=origin)


def infer_config(shapes: Mapping[str, tuple[int, ...]], *, origin: str) -> FMANetConfig:
    """The configuration of the network whose parameters have these full names and shapes (the inverse of `FMANet`).

    The magnification is 4: the published network knows no other. Raises `WeightsError` where a needed tensor is
    missing or no network has such shapes.
    """
    look = _Shapes(shapes, origin)
    net_d, net_r = _PREFIXES["D"], _PREFIXES["R"]
    dim = look.size(f"{net_d}feature_extractor.0.weight", 0)
    rdb = f"{net_d}feature_extractor.2.RDBs."
    block = f"{net_d}FRMA_blocks."
    attention = f"{block}0.multi_attn_block."
    hidden = look.size(f"{attention}0.ffn1.project_out.weight", 1)
    residual_dim = look.size(f"{net_r}upsample.conv3.weight", 0)
    try:
        config = FMANetConfig(
            num_frames=look.quotient(f"{block}0.conv_Fw.weight", 1, by=dim),
            dim=dim,
            num_rdbs=look.count(rdb),
            growth=look.size(f"{rdb}0.layer.0.conv.weight", 0),
            num_dense_layers=look.count(f"{rdb}0.layer."),
            num_flows=look.quotient(f"{block}0.conv_f.2.weight", 0, by=FLOW_MASK_CHANNELS),
            num_frma_blocks=look.count(block),
            num_attention_blocks=look.count(attention),
            num_heads=look.size(f"{attention}0.co_attn.temperature", 0),
            ffn_expansion=ffn_expansion(dim, hidden),
            degradation_kernel_size=look.root(f"{net_d}d_conv.2.weight", 0, by=1),
            restoration_kernel_size=look.root(f"{net_r}r_conv.2.weight", 0, by=SCALE**2),
            residual_dim=None if residual_dim == dim else residual_dim,
            scale=SCALE,
        )
    except OptionError as error:
        raise WeightsError(f"{origin}: no network has these shapes: {error}") from error
    return config


def ffn_expansion(dim: int, hidden: int) -> float:
    """The factor of `dim` whose integer part is `hidden`: the paper's where it fits, else the shortest decimal."""
    if int(dim * PAPER.ffn_expansion) == hidden:
        return PAPER.ffn_expansion
    for digits in range(17):
        step = Decimal(1).scaleb(-digits)
        least = (Decimal(hidden) / dim).quantize(step, rounding=ROUND_CEILING)
        # The product is rounded: 90 * 0.7 is less than 63, so the next decimal gets its chance too.
        for factor in (float(least), float(least + step)):
            if int(dim * factor) == hidden:
                return factor
    raise AssertionError(f"no factor of {dim} gives {hidden}")


class _Shapes:
    """Shapes by name, with errors that say which tensor does not fit."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], origin: str) -> None:
        self._shapes = shapes
        self._origin = origin

    def size(self, name: str, axis: int) -> int:
        if name not in self._shapes:
            raise WeightsError(f"{self._origin}: tensor {name} is missing")
        if axis >= len(self._shapes[name]) or self._shapes[name][axis] < 1:
            raise self._impossible(name)
        return self._shapes[name][axis]

    def quotient(self, name: str, axis: int, *, by: int) -> int:
        quotient, rest = divmod(self.size(name, axis), by)
        if rest:
            raise self._impossible(name)
        return quotient

    def root(self, name: str, axis: int, *, by: int) -> int:
        square = self.quotient(name, axis, by=by)
        root = math.isqrt(square)
        if root * root != square:
            raise self._impossible(name)
        return root

    def count(self, prefix: str) -> int:
        """One more than the largest index after `prefix`, so that a gap shows as missing tensors."""
        indices = [
            int(match[1]) for name in self._shapes if (match := re.match(re.escape(prefix) + r"(\d{1,9})\.", name))
        ]
        if not indices:
            raise WeightsError(f"{self._origin}: every tensor {prefix}* is missing")
        return max(indices) + 1

    def _impossible(self, name: str) -> WeightsError:
        shape = "x".join(map(str, self._shapes[name]))
        return WeightsError(f"{self._origin}: no network has a tensor {name} of the shape {shape or 'of one number'}")


def _read_state(path: Path, name: str) -> tuple[str, dict[str, Tensor]]:
    """Which half a file is, "D" or "R", and its state dictionary."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if code := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise WeightsError(f"{name} asks to run code while it is read ({code[1]}): refused") from error
        raise WeightsError(f"{name} is not a file of weights, or is damaged") from error
    except Exception as error:  # A damaged pickle raises whatever its bytes happen to spell.
        raise WeightsError(f"{name} is not a file of weights, or is damaged ({type(error).__name__})") from error
    keys = list(content) if isinstance(content, dict) else []
    part = next((part for part in _PREFIXES if f"model_{part}_state_dict" in keys), None)
    if part is None:
        found = ", ".join(map(str, keys[:4])) or type(content).__name__
        raise WeightsError(f"{name} has neither model_D_state_dict nor model_R_state_dict (found: {found})")
    state = content[f"model_{part}_state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{name}: model_{part}_state_dict is not a dictionary of tensors")
    for key, value in state.items():
        if not value.is_floating_point() or value.layout != torch.strided or value.device.type != "cpu":
            raise WeightsError(f"{name}: {key} is not a plain tensor of floating-point numbers")
    return part, state
