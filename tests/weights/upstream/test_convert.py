"""The authors' layout: the configuration read off shapes, and pickles that are refused."""

from __future__ import annotations

import json
import math
import os
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from fmanet_cli.errors import WeightsError
from fmanet_cli.model.config import LITE, PAPER, FMANetConfig
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.weights.upstream.archive import UpstreamPair, find_upstream_pair
from fmanet_cli.weights.upstream.convert import ffn_expansion, infer_config, read_upstream_model

Shapes = dict[str, tuple[int, ...]]


def _shapes(config: FMANetConfig) -> Shapes:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in FMANet(config).state_dict().items()}


def _random_config(seed: int) -> FMANetConfig:
    draw = random.Random(seed)
    num_frames, num_flows, num_heads = draw.choice([1, 3, 5, 7]), draw.randint(1, 9), draw.randint(1, 6)
    return FMANetConfig(
        num_frames=num_frames,
        dim=math.lcm(num_frames, num_flows, num_heads) * draw.randint(1, 4),
        num_rdbs=draw.randint(1, 12),
        growth=draw.randint(1, 20),
        num_dense_layers=draw.randint(1, 5),
        num_flows=num_flows,
        num_frma_blocks=draw.randint(1, 5),
        num_attention_blocks=draw.randint(1, 3),
        num_heads=num_heads,
        ffn_expansion=draw.choice([1.0, 2.0, 2.66, 3.0]),
        degradation_kernel_size=draw.choice([4, 8, 12, 20]),
        restoration_kernel_size=draw.choice([1, 3, 5, 7]),
        residual_dim=draw.choice([None, 257]),
    )


def test_published_layout_gives_the_papers_configuration() -> None:
    layout = json.loads(
        (Path(__file__).parents[2] / "model" / "golden" / "state_dict_paper.json").read_text(encoding="utf-8")
    )
    shapes = {
        f"{part.split()[0]}.{name}": tuple(shape) for part, tensors in layout.items() for name, shape in tensors.items()
    }
    assert len(shapes) == 585
    assert infer_config(shapes, origin="published") == PAPER
    assert shapes == _shapes(PAPER)


def test_embedded_configuration_is_found_again() -> None:
    assert infer_config(_shapes(LITE), origin="lite") == LITE


@pytest.mark.parametrize("seed", range(20))
def test_any_configuration_is_found_again(seed: int) -> None:
    config = _random_config(seed)
    assert infer_config(_shapes(config), origin="random") == config


def test_every_hidden_width_is_reproduced() -> None:
    for dim in (1, 7, 24, 90, 105):
        for hidden in range(1, 4 * dim):
            assert int(dim * ffn_expansion(dim, hidden)) == hidden
    assert ffn_expansion(90, 239) == 2.66
    assert ffn_expansion(24, 48) == 2.0


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("degradation_learning_network.feature_extractor.0.weight", None, "0.weight is missing"),
        ("degradation_learning_network.feature_extractor.0.weight", (), "no network has a tensor .* of one number"),
        ("degradation_learning_network.FRMA_blocks.0.conv_Fw.weight", (12, 37, 1, 1), "of the shape 12x37x1x1"),
        ("degradation_learning_network.FRMA_blocks.0.conv_f.2.weight", (7, 6, 1, 3, 3), "of the shape 7x6x1x3x3"),
        ("degradation_learning_network.d_conv.2.weight", (63, 12, 1, 3, 3), "of the shape 63x12x1x3x3"),
        ("degradation_learning_network.d_conv.2.weight", (49, 12, 1, 3, 3), "degradation_kernel_size must be even"),
        ("restoration_network.r_conv.2.weight", (100, 12, 1, 3, 3), "of the shape 100x12x1x3x3"),
    ],
)
def test_impossible_shapes(tiny_model: FMANet, name: str, shape: tuple[int, ...] | None, message: str) -> None:
    shapes = _shapes(tiny_model.config)
    if shape is None:
        del shapes[name]
    else:
        shapes[name] = shape
    with pytest.raises(WeightsError, match=message):
        infer_config(shapes, origin="broken")


def _pair(folder: Path) -> UpstreamPair:
    return find_upstream_pair([folder], scratch=folder / "scratch")


def _change(file: Path, change: Any) -> None:
    content = torch.load(file, weights_only=True)
    change(content)
    torch.save(content, file)


def test_both_files_give_the_same_network(upstream_folder: Path, tiny_model: FMANet) -> None:
    model = read_upstream_model(_pair(upstream_folder), colour_order="bgr")
    assert model.config == tiny_model.config
    assert model.colour_order == "bgr"
    window = torch.rand(1, 3, 3, 6, 8)
    assert torch.equal(model(window), tiny_model(window))


def test_files_in_the_wrong_order_are_told_apart_by_content(upstream_folder: Path, tiny_model: FMANet) -> None:
    paths = [upstream_folder / "model_R_best.pt", upstream_folder / "model_D_best.pt"]
    model = read_upstream_model(find_upstream_pair(paths, scratch=upstream_folder), colour_order="rgb")
    assert model.config == tiny_model.config


def test_the_same_half_twice(upstream_folder: Path) -> None:
    paths = [upstream_folder / "model_D_best.pt"] * 2
    with pytest.raises(WeightsError, match="both hold model_D_state_dict"):
        read_upstream_model(find_upstream_pair(paths, scratch=upstream_folder), colour_order="rgb")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["model_R_state_dict"].pop("a_conv.2.weight"),
            r"[(]restoration_network.a_conv.2.weight[)] missing",
        ),
        (
            lambda c: c["model_R_state_dict"].pop("d_conv.0.weight"),
            r"[(]restoration_network.d_conv.0.weight[)] missing",
        ),
        (
            lambda content: content["model_R_state_dict"].update(more=torch.zeros(2)),
            r"restoration_network.more\) unexpected",
        ),
        (lambda content: content["model_R_state_dict"].update(more=3), "is not a dictionary of tensors"),
        (
            lambda content: content["model_R_state_dict"].update(more=torch.zeros(2, dtype=torch.int64)),
            "more is not a plain tensor of floating-point numbers",
        ),
        (
            lambda content: content["model_R_state_dict"].update(more=torch.zeros(1).expand(1 << 31)),
            "claim more than 1,073,741,824 parameters",
        ),
        (lambda content: content.pop("model_R_state_dict"), r"has neither model_D_state_dict .*found: epoch"),
    ],
)
def test_contents_that_do_not_fit(upstream_folder: Path, change: Any, message: str) -> None:
    _change(upstream_folder / "model_R_best.pt", change)
    with pytest.raises(WeightsError, match=message):
        read_upstream_model(_pair(upstream_folder), colour_order="bgr")


class _Code:
    def __reduce__(self) -> Any:
        return os.mkdir, ("was-run",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(
    upstream_folder: Path, zipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(upstream_folder)
    content = {"model_R_state_dict": _Code()}
    torch.save(content, upstream_folder / "model_R_best.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"model_R_best.pt asks to run code while it is read \(\w+.mkdir\): refused"):
        read_upstream_model(_pair(upstream_folder), colour_order="bgr")
    assert not (upstream_folder / "was-run").exists()


@pytest.mark.parametrize("content", [b"", b"<html></html>", pickle.dumps([1]), b"PK\x03\x04 truncated"])
def test_files_that_are_no_pickle_of_torch(upstream_folder: Path, content: bytes) -> None:
    (upstream_folder / "model_D_best.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"model_D_best.pt is not a file of weights, or is damaged"):
        read_upstream_model(_pair(upstream_folder), colour_order="bgr")


def test_truncated_file(upstream_folder: Path) -> None:
    path = upstream_folder / "model_R_best.pt"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(WeightsError, match=r"model_R_best.pt is not a file of weights, or is damaged"):
        read_upstream_model(_pair(upstream_folder), colour_order="bgr")
