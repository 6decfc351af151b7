"""Checkpoints rebuild their network exactly, and nothing else is taken for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fmanet_cli.errors import FileWriteError, WeightsError
from fmanet_cli.model.config import BASE, LITE, PAPER
from fmanet_cli.model.fmanet import FMANet, random_model
from fmanet_cli.weights.cache import SourceFile
from fmanet_cli.weights.checkpoint import (
    CheckpointMetadata,
    load_checkpoint,
    load_model,
    read_header,
    save_checkpoint,
)

METADATA = CheckpointMetadata(
    licence="MIT",
    source="a test",
    source_files=(SourceFile("a.zip", "00"),),
    created="2026-01-02",
    training="none",
    licence_accepted="today",
)


@pytest.fixture
def saved(tmp_path: Path, tiny_model: FMANet) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, tiny_model, metadata=METADATA)
    return path


def _resave(path: Path, *, tensors: dict[str, torch.Tensor] | None = None, **fields: str | None) -> None:
    with safe_open(path, framework="pt") as file:
        old = file.metadata()
    kept = {key: value for key, value in {**old, **fields}.items() if value is not None}
    save_file(load_file(path) if tensors is None else tensors, path, metadata=kept)


def _config_with(path: Path, **changes: Any) -> str:
    with safe_open(path, framework="pt") as file:
        return json.dumps({**json.loads(file.metadata()["config"]), **changes})


def test_a_file_rebuilds_its_model(saved: Path, tiny_model: FMANet) -> None:
    loaded = load_model(saved)
    assert loaded.config == tiny_model.config
    assert loaded.colour_order == "rgb"
    assert not loaded.training
    window = torch.rand(1, 3, 3, 8, 10)
    assert torch.equal(loaded(window), tiny_model(window))
    assert read_header(saved).metadata == METADATA


def test_colour_order_is_kept(tmp_path: Path, tiny_model: FMANet) -> None:
    save_checkpoint(tmp_path / "b.safetensors", FMANet(tiny_model.config, colour_order="bgr"), metadata=METADATA)
    assert load_checkpoint(tmp_path / "b.safetensors").colour_order == "bgr"


def test_training_can_go_on_from_a_loaded_model(saved: Path) -> None:
    model = load_model(saved).train()
    model(torch.rand(1, 3, 3, 4, 4)).sum().backward()
    assert model.restoration_network.res_conv2.weight.grad is not None


def test_weights_in_16_bits_are_stored_and_loaded_as_float32(tmp_path: Path, tiny_model: FMANet) -> None:
    save_checkpoint(tmp_path / "half.safetensors", tiny_model.half(), metadata=METADATA)
    assert {tensor.dtype for tensor in load_file(tmp_path / "half.safetensors").values()} == {torch.float32}
    _resave(
        tmp_path / "half.safetensors",
        tensors={name: tensor.half() for name, tensor in load_file(tmp_path / "half.safetensors").items()},
    )
    assert {tensor.dtype for tensor in load_checkpoint(tmp_path / "half.safetensors").parameters()} == {torch.float32}


def test_day_of_saving_is_noted(tmp_path: Path, tiny_model: FMANet) -> None:
    save_checkpoint(tmp_path / "a.safetensors", tiny_model, metadata=CheckpointMetadata(licence="MIT", source="x"))
    assert read_header(tmp_path / "a.safetensors").metadata.created.count("-") == 2


def test_loading_leaves_the_random_state_alone(saved: Path) -> None:
    before = torch.random.get_rng_state()
    load_model(saved)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_failed_save_leaves_the_old_file(saved: Path, tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch) -> None:
    old = saved.read_bytes()

    def fail(_: Any, path: Path, **__: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fmanet_cli.weights.checkpoint.save_file", fail)
    with pytest.raises(FileWriteError, match=r"tiny.safetensors cannot be written: No space left on device"):
        save_checkpoint(saved, tiny_model, metadata=METADATA)
    assert saved.read_bytes() == old
    assert [path.name for path in saved.parent.iterdir()] == ["tiny.safetensors"]


def test_missing_tensor_is_named(saved: Path) -> None:
    tensors = load_file(saved)
    del tensors["restoration_network.res_conv2.weight"]
    _resave(saved, tensors=tensors)
    with pytest.raises(WeightsError, match=r"1 tensor \(restoration_network.res_conv2.weight\) missing"):
        load_model(saved)


def test_unexpected_tensors_are_named_and_counted(saved: Path) -> None:
    extra = {f"extra{index}": torch.zeros(1) for index in range(5)}
    _resave(saved, tensors={**load_file(saved), **extra})
    with pytest.raises(WeightsError, match=r"5 tensors \(extra0, extra1, extra2 and 2 more\) unexpected"):
        load_model(saved)


def test_wrong_shape_is_named(saved: Path) -> None:
    _resave(saved, tensors={**load_file(saved), "restoration_network.res_conv2.weight": torch.zeros(3, 12, 1, 1)})
    with pytest.raises(WeightsError, match=r"res_conv2.weight has the shape 3x12x1x1, but the network needs 3x12x3x3"):
        load_model(saved)


def test_values_that_are_not_numbers_are_refused(saved: Path) -> None:
    bad = torch.zeros(3, 12, 3, 3)
    bad[1, 1, 1, 1] = torch.nan
    _resave(saved, tensors={**load_file(saved), "restoration_network.res_conv2.weight": bad})
    with pytest.raises(WeightsError, match=r"res_conv2.weight holds values that are not finite"):
        load_model(saved)


def test_whole_numbers_are_refused(saved: Path) -> None:
    whole = torch.zeros(3, 12, 3, 3, dtype=torch.int32)
    _resave(saved, tensors={**load_file(saved), "restoration_network.res_conv2.weight": whole})
    with pytest.raises(WeightsError, match=r"res_conv2.weight holds I32, not floating-point numbers"):
        load_model(saved)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": None}, "safetensors file of another program"),
        ({"format_version": "2"}, "format version '2', this fmanet reads 1: update fmanet"),
        ({"colour_order": "gbr"}, "colour order must be rgb or bgr, got 'gbr'"),
        ({"config": None}, "damaged metadata: KeyError"),
        ({"config": "{"}, "damaged metadata"),
        ({"config": '{"depth": 3}'}, "damaged metadata"),
        ({"config": '{"num_frames": 4}'}, "impossible network: num_frames must be odd"),
        ({"provenance": "[]"}, "damaged metadata"),
    ],
)
def test_metadata_that_cannot_be_used(saved: Path, fields: dict[str, str | None], message: str) -> None:
    _resave(saved, **fields)
    with pytest.raises(WeightsError, match=message):
        load_model(saved)


def test_a_monstrous_configuration_is_refused_at_once(saved: Path) -> None:
    _resave(saved, config=_config_with(saved, num_rdbs=10**9))
    with pytest.raises(WeightsError, match="tensors cannot make a network of 1000000000 blocks"):
        load_model(saved)


def test_truncated_file(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="is not a whole safetensors file"):
        load_model(saved)


def test_missing_file() -> None:
    with pytest.raises(WeightsError, match=r"there is no weights file .*nowhere.safetensors"):
        load_model("nowhere.safetensors")


def test_a_pickle_names_the_command_that_converts_it(upstream_folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"model_D_best.pt is not a .safetensors file: convert it with 'fmanet"):
        load_model(str(upstream_folder / "model_D_best.pt"))


@pytest.mark.parametrize(("name", "config"), [("random:paper", PAPER), ("random:lite", LITE), ("random:base", BASE)])
def test_random_names_give_seeded_weights(name: str, config: Any) -> None:
    model = load_model(name)
    assert model.config == config
    assert not model.training
    assert torch.equal(next(model.parameters()), next(random_model(config).parameters()))


def test_embedded_name() -> None:
    assert load_model("lite").count_parameters() == 488_652


def test_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(WeightsError, match=r"unknown weights 'lit'; known names are lite, .*\. Did you mean 'lite'\?"):
        load_model("lit")


def test_weights_that_are_not_installed_name_the_command() -> None:
    with pytest.raises(WeightsError, match="run 'fmanet weights download reds'"):
        load_model("reds")
