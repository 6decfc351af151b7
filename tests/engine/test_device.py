"""Device and precision follow from facts, and a card that stays unused is told of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fmanet_cli.engine import device as device_module
from fmanet_cli.engine.device import (
    Card,
    Facts,
    choose_device,
    choose_precision,
    device_warnings,
    exact_float32,
    longer_precisions,
    read_facts,
)
from fmanet_cli.errors import DeviceError, OptionError

CPU, CUDA, METAL = torch.device("cpu"), torch.device("cuda", 0), torch.device("mps")
TODAY = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
OLDER = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90a")
ALONE = Facts(cuda_of_torch="13.0")


def with_card(name: str, capability: tuple[int, int], kernels: tuple[str, ...] = TODAY, **more: bool) -> Facts:
    return replace(ALONE, cards=(Card(name, capability, kernels, **more),), has_nvidia_card=True)


@pytest.mark.parametrize(
    ("facts", "device", "precision", "longer"),
    [
        (with_card("Tesla P100", (6, 0), OLDER), CUDA, "fp32", []),
        (with_card("GeForce GTX 1080", (6, 1), OLDER), CUDA, "fp32", []),
        (with_card("GeForce GTX 1080", (6, 1)), CPU, "fp32", []),
        (with_card("Tesla V100", (7, 0), OLDER), CUDA, "fp16", ["fp32"]),
        (with_card("Tesla V100", (7, 0)), CPU, "fp32", []),
        (with_card("Tesla T4", (7, 5)), CUDA, "fp16", ["fp32"]),
        (with_card("NVIDIA GeForce GTX 1660 Ti", (7, 5)), CUDA, "fp32", []),
        (with_card("NVIDIA A100", (8, 0)), CUDA, "fp16", ["bf16", "fp32"]),
        (with_card("NVIDIA GeForce RTX 4090", (8, 9)), CUDA, "fp16", ["bf16", "fp32"]),
        (with_card("NVIDIA H100", (9, 0)), CUDA, "fp16", ["bf16", "fp32"]),
        (with_card("NVIDIA H100", (9, 0), ("sm_80", "sm_90a")), CPU, "fp32", []),
        (with_card("NVIDIA GeForce RTX 5090", (12, 0)), CUDA, "fp16", ["bf16", "fp32"]),
        (with_card("NVIDIA GeForce RTX 5090", (12, 0), ("sm_80", "compute_90")), CUDA, "fp16", ["bf16", "fp32"]),
        (with_card("AMD Radeon RX 7900", (11, 0), ("gfx1100",), is_hip=True), CUDA, "fp16", ["bf16", "fp32"]),
        (replace(ALONE, has_metal=True), METAL, "fp32", []),
        (replace(ALONE, cpu_has_bfloat16=True), CPU, "bf16", ["fp32"]),
        (ALONE, CPU, "fp32", []),
    ],
)
def test_auto(facts: Facts, device: torch.device, precision: str, longer: list[str]) -> None:
    assert choose_device("auto", facts) == device
    chosen = choose_precision("auto", device, facts)
    assert (chosen, longer_precisions(chosen, device, facts)) == (precision, longer)


def test_auto_takes_the_card_in_use_before_others_and_none_without_kernels() -> None:
    old, new = Card("GTX 1080", (6, 1), TODAY), Card("RTX 3060", (8, 6), TODAY)
    assert choose_device("auto", Facts((old, new), current=0)) == torch.device("cuda", 1)
    assert choose_device("auto", Facts((new, new), current=1)) == torch.device("cuda", 1)
    assert choose_device("cuda", Facts((new, new), current=1)) == torch.device("cuda", 1)
    assert device_warnings("auto", Facts((new, new))) == ()
    (warning,) = device_warnings("auto", Facts((old, new)))
    assert warning.startswith("this torch has no kernels for GTX 1080 (compute capability 6.1, it has sm_75 sm_80")
    assert warning.endswith("cuda:1 is used")


def test_precision_is_that_of_the_card_that_is_used() -> None:
    facts = Facts((Card("RTX 3060", (8, 6), TODAY), Card("RTX 2060", (7, 5), TODAY)))
    assert choose_precision("bf16", torch.device("cuda", 0), facts) == "bf16"
    with pytest.raises(DeviceError, match=r"RTX 2060 has no bfloat16.*8\.0; use fp16 or fp32"):
        choose_precision("bf16", torch.device("cuda", 1), facts)


@pytest.mark.parametrize(
    ("name", "facts", "text"),
    [
        ("cuda", with_card("GTX 1080", (6, 1)), "cuda was asked for, but this torch has no kernels for GTX 1080"),
        ("cuda:1", with_card("RTX 3060", (8, 6)), r"only 1 CUDA devices \(from cuda:0\)"),
        ("cuda", ALONE, "no CUDA device is available; use the device cpu"),
        ("cuda", Facts(has_nvidia_card=True), "built without CUDA: pip install --force-reinstall torch, with pip's"),
        ("cuda", replace(ALONE, has_nvidia_card=True), r"torch for CUDA 13\.0 cannot use: update its driver, or pip"),
        ("mps", ALONE, "no Metal device; use the device cpu"),
    ],
)
def test_a_device_that_cannot_be_had_is_refused_with_what_mends_it(name: str, facts: Facts, text: str) -> None:
    with pytest.raises(DeviceError, match=text):
        choose_device(name, facts)


@pytest.mark.parametrize("name", ["xpu", "cuda:x", "cpu:1", "mps:0", "gpu"])
def test_unknown_devices_are_refused_by_name(name: str) -> None:
    with pytest.raises(OptionError, match=f"unknown device '{name}'; use auto, cpu, cuda"):
        choose_device(name, ALONE)


def test_a_card_that_torch_cannot_use_is_told_of_where_the_choice_is_free() -> None:
    (warning,) = device_warnings("auto", Facts(has_nvidia_card=True))
    assert "an NVIDIA card, but this torch is built without CUDA" in warning
    assert warning.endswith("; cpu is used")
    assert device_warnings("cpu", Facts(has_nvidia_card=True)) == ()
    assert device_warnings("auto", ALONE) == ()


def test_cards_hidden_on_purpose_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (trace := tmp_path / "nvidia0").touch()
    monkeypatch.setattr(device_module, "_NVIDIA_TRACES", (trace,))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert read_facts().has_nvidia_card
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not read_facts().has_nvidia_card


@pytest.mark.parametrize("allowed", [True, False])
def test_float32_is_exact_inside_a_call_and_as_it_was_after_it(allowed: bool) -> None:
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision(), torch.backends.cudnn.enabled
    try:
        torch.backends.cudnn.allow_tf32 = allowed
        torch.set_float32_matmul_precision("high")
        with pytest.raises(ZeroDivisionError), exact_float32(CUDA, "fp32"):
            assert not torch.backends.cudnn.allow_tf32
            assert torch.get_float32_matmul_precision() == "highest"
            assert torch.backends.cudnn.enabled == before[2]
            raise ZeroDivisionError
        with exact_float32(CUDA, "fp16"):
            assert torch.backends.cudnn.allow_tf32 == allowed
        assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (allowed, "high")
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])
