"""A device is held against the CPU before it may restore a film, and computes in the first way that is right."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fmanet_cli.engine import restorer as restorer_module
from fmanet_cli.engine import self_check as module
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.engine.self_check import SelfCheck, Trial, fallback_warnings
from fmanet_cli.errors import DeviceError, DeviceLostError, WeightsError
from fmanet_cli.model.fmanet import FMANet

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


class OnNoDevice:
    """The network on the CPU in place of a device that is not here; some ways of computing go wrong."""

    def __init__(self, model: FMANet, wrong: dict[tuple[str, bool], Any]) -> None:
        self._model, self._wrong = model, wrong
        self.built: list[tuple[str, bool]] = []

    def __call__(self, _: torch.device, precision: Any, fused: bool) -> Any:
        self.built.append((precision, fused))
        runner = StreamingRunner(self._model, device=CPU, precision="fp32")
        wrong, window = self._wrong.get((precision, fused)), runner.window

        def wrong_window(states: Any) -> torch.Tensor:
            if isinstance(wrong, Exception):
                raise wrong
            return window(states) + (wrong or 0)

        runner.window = wrong_window  # type: ignore[method-assign]
        return runner


@pytest.fixture(autouse=True)
def _a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """An Ampere card with Triton, as far as choices go; its frames are the CPU's."""
    monkeypatch.setattr(module, "why_not_fused", lambda *_: None)
    monkeypatch.setattr(module, "longer_precisions", lambda first, _: {"fp16": ["bf16", "fp32"]}.get(first, []))
    monkeypatch.setattr(module, "is_lost", lambda _: False)
    monkeypatch.setattr(module, "_placed", lambda frame, _: frame)


NAN = float("nan")


@pytest.mark.parametrize(
    ("wrong", "ways"),
    [
        ({}, [("fp16", True)]),
        ({("fp16", True): 0.1}, [("fp16", True), ("fp16", False)]),
        ({("fp16", True): RuntimeError("Triton Error [CUDA]: bad"), ("fp16", False): NAN}, 2),
        ({("fp16", True): NAN, ("fp16", False): NAN, ("bf16", True): 0.1, ("bf16", False): 0.1}, 4),
        ({("fp16", True): NAN, ("fp16", False): RuntimeError("GET was unable to find an engine to execute this")}, 2),
    ],
)
def test_the_first_way_that_is_right_is_taken(random_tiny_model: FMANet, wrong: dict[Any, Any], ways: Any) -> None:
    build = OnNoDevice(random_tiny_model, wrong)
    every = [(precision, fused) for precision in ("fp16", "bf16", "fp32") for fused in (True, False)]
    expected = every[: ways + 1] if isinstance(ways, int) else ways
    _, precision, trials = SelfCheck(random_tiny_model, CUDA, build=build).choose("fp16", is_free=True)
    assert build.built == expected
    assert [(trial.precision, trial.fused) for trial in trials] == expected
    assert [trial.is_passed for trial in trials] == [False] * (len(expected) - 1) + [True]
    assert precision == expected[-1][0]
    assert bool(fallback_warnings(CUDA, trials)) == (len(expected) > 1)


def test_a_doctor_tries_every_way(random_tiny_model: FMANet) -> None:
    trials = SelfCheck(random_tiny_model, CUDA, build=OnNoDevice(random_tiny_model, {("fp32", True): 0.1})).every_way()
    assert [(trial.precision, trial.fused, trial.is_passed) for trial in trials] == [
        (precision, fused, (precision, fused) != ("fp32", True))
        for precision in ("fp16", "bf16", "fp32")
        for fused in (True, False)
    ]


def test_what_was_tried_is_said_in_one_line() -> None:
    trials = (Trial("fp16", True, 20.04), Trial("fp16", False, None, "no such kernel"), Trial("bf16", True, 61.0))
    assert fallback_warnings(CUDA, trials) == (
        "cuda:0 fails the self-check (fp16 with fused kernels: 20.0 dB, fp16: no such kernel): going on in bf16 with "
        "fused kernels",
    )


def test_a_precision_that_was_asked_for_is_not_replaced(random_tiny_model: FMANet) -> None:
    build = OnNoDevice(random_tiny_model, {("fp16", True): 0.1, ("fp16", False): 0.1})
    with pytest.raises(DeviceError, match=r"cuda:0 computes wrongly .*fp16 with fused kernels: 20\.0 dB, fp16: 20\.0"):
        SelfCheck(random_tiny_model, CUDA, build=build).choose("fp16", is_free=False)
    assert build.built == [("fp16", True), ("fp16", False)]


def test_memory_and_lost_devices_end_the_check(random_tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch) -> None:
    build = OnNoDevice(random_tiny_model, {("fp16", True): torch.OutOfMemoryError("CUDA out of memory")})
    with pytest.raises(DeviceError, match="not enough memory on cuda:0 for the network"):
        SelfCheck(random_tiny_model, CUDA, build=build).choose("fp16", is_free=True)
    monkeypatch.setattr(module, "is_lost", lambda _: True)
    build = OnNoDevice(random_tiny_model, {("fp16", True): RuntimeError("CUDA error: misaligned address")})
    with pytest.raises(DeviceLostError, match="cuda:0 is lost"):
        SelfCheck(random_tiny_model, CUDA, build=build).choose("fp16", is_free=True)


def test_weights_that_overflow_are_no_fault_of_the_device(random_tiny_model: FMANet) -> None:
    with torch.no_grad():
        for parameter in random_tiny_model.parameters():
            parameter.mul_(1e30)
    with pytest.raises(WeightsError, match="its weights overflow"):
        SelfCheck(random_tiny_model, CUDA, build=OnNoDevice(random_tiny_model, {})).choose("fp32", is_free=True)


def test_a_cpu_is_what_others_are_held_against(random_tiny_model: FMANet) -> None:
    assert SelfCheck(random_tiny_model, CPU).choose("fp32", is_free=True)[1:] == ("fp32", ())


def test_what_the_user_should_know_of_a_device_is_in_the_warnings_of_every_run(
    random_tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restorer_module, "device_warnings", lambda _: ("a card is not used",))
    restorer = restorer_module.Restorer(random_tiny_model, device="cpu", precision="fp32")
    assert restorer.start(8, 8).warnings == ("a card is not used",)
    monkeypatch.setattr(restorer_module, "why_not_fused", lambda *_: "Triton is not installed (pip install triton)")
    (warning,) = restorer_module._unfused_warnings(CUDA, "fp16")
    assert warning.endswith("PyTorch's own kernels alone: Triton is not installed (pip install triton)")
