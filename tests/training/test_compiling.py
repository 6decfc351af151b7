"""Compiled steps are used only where their gradients are right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fmanet_cli.errors import TrainingError
from fmanet_cli.model.config import LITE
from fmanet_cli.model.fmanet import random_model
from fmanet_cli.model.frma import RefinementState
from fmanet_cli.training import compiling
from fmanet_cli.training.compiling import CheckedStep, avoid_wrong_code
from fmanet_cli.training.run_options import RunOptions
from fmanet_cli.training.trainer import Trainer
from tests.training.conftest import TINY, SimpleWindows, tiny_recipe

FLAGS = "TORCHINDUCTOR_CPP_ENABLE_FLOATING_POINT_CONTRACT_FLAG"


class Scaled(torch.autograd.Function):
    """The same value, its gradient times a factor."""

    @staticmethod
    def forward(context, value, factor):
        context.factor = factor
        return value.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * context.factor, None


def trainer(folder: Path, **changes) -> Trainer:
    options = RunOptions(folder=folder, stages=(2,), half_precision=False, prefetched_batches=0, **changes)
    return Trainer(random_model(TINY, seed=1), SimpleWindows(), tiny_recipe(), options)


class Loss:
    """The least that `CheckedStep` asks of a loss."""

    def __init__(self, total):
        self.total = total


def two_parameters() -> dict[str, nn.Parameter]:
    return {"first": nn.Parameter(torch.tensor([1.0, 2.0])), "second": nn.Parameter(torch.tensor([3.0]))}


def plain_loss(parameters):
    return lambda *_: Loss((parameters["first"] ** 2).sum() + parameters["second"].sum() * 5.0)


@pytest.mark.parametrize("factor", [1.2, 0.0, float("nan")])
@pytest.mark.parametrize("wrong_kind", [True, False])
def test_a_compiled_step_with_one_wrong_gradient_is_left_for_the_plain_one(factor, wrong_kind):
    parameters = two_parameters()
    plain, compiled_calls = plain_loss(parameters), []

    def compiled(batch, rebuild):
        compiled_calls.append(rebuild)
        second = Scaled.apply(parameters["second"], factor if rebuild is wrong_kind else 1.0)
        return Loss((parameters["first"] ** 2).sum() + second.sum() * 5.0)

    step = CheckedStep(plain, parameters, compiled)
    notes = []
    for rebuild in (True, False, True, False, False):
        for parameter in parameters.values():
            parameter.grad = None
        step(None, rebuild)
        notes.extend(step.take_notes())
        assert parameters["first"].grad.tolist() == [2.0, 4.0]
        assert parameters["second"].grad.tolist() == [5.0]
    assert compiled_calls == ([True] if wrong_kind else [True, False])
    assert len(notes) == 1
    assert "1 parameters, worst second" in notes[0]
    assert "goes on without compiling" in notes[0]


def test_a_compiled_step_with_right_gradients_is_used():
    parameters = two_parameters()
    calls = []

    def compiled(batch, rebuild):
        calls.append(rebuild)
        return plain_loss(parameters)(batch, rebuild)

    step = CheckedStep(plain_loss(parameters), parameters, compiled)
    for rebuild in (True, False, False, True):
        for parameter in parameters.values():
            parameter.grad = None
        step(None, rebuild)
    assert calls == [True, False, False, True]
    assert step.take_notes() == ()


def test_a_run_says_once_that_it_goes_on_without_compiling(tmp_path, monkeypatch):
    runs = trainer(tmp_path, compiled=True)
    plain = list(trainer(tmp_path / "plain").run())

    def compile_wrongly(step, **_):
        def compiled(batch, rebuild):
            loss = step(batch, rebuild)
            for parameter in runs.model.restoration_network.a_conv.parameters():
                parameter.grad = torch.ones_like(parameter)
            return loss

        return compiled

    monkeypatch.setattr(torch, "compile", compile_wrongly)
    reports = list(runs.run())
    assert [len(report.notes) for report in reports] == [1, 0, 0, 0, 0, 0]
    assert [report.figures["total"] for report in reports] == [report.figures["total"] for report in plain]


def test_a_step_that_cannot_be_compiled_is_refused(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no C++ compiler\nand many more lines")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    with pytest.raises(TrainingError, match=r"the step cannot be compiled: no C\+\+ compiler; train without compiling"):
        list(trainer(tmp_path, compiled=True).run())


def fake_compiler(folder: Path, text: str) -> Path:
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\necho '{text}' \"$@\"\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def _inductor_as_before():
    from torch._inductor import config

    flag = config.cpp.enable_floating_point_contract_flag
    with config.patch({"cpp.cxx": config.cpp.cxx, "cpp.enable_floating_point_contract_flag": flag}):
        yield


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for a compiler is a shell script")
@pytest.mark.usefixtures("_inductor_as_before")
@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ("g++ (Debian 12.2.0-14) 12.2.0", True),
        ("g++ (GCC) 9.4.0", True),
        ("g++ (GCC) 13.1.0", False),
        ("Debian clang version 11.0.1", False),
    ],
)
def test_old_compilers_get_safe_flags(tmp_path, monkeypatch, version, safe):
    monkeypatch.setenv("CXX", str(fake_compiler(tmp_path, version)))
    monkeypatch.setenv(FLAGS, "")
    monkeypatch.delenv(FLAGS)
    avoid_wrong_code()
    assert ("-fno-tree-slp-vectorize -fno-tree-loop-distribute-patterns" in os.environ.get(FLAGS, "")) is safe


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for a compiler is a shell script")
def test_the_compiler_gets_the_safe_flags(tmp_path):
    """From every release of Inductor, whose command lines are made in two ways."""
    code = (
        "import shlex, subprocess; from fmanet_cli.training.compiling import avoid_wrong_code; avoid_wrong_code(); "
        "from torch._inductor.cpp_builder import CppOptions, get_cpp_compiler; "
        "flags = ['-' + flag for flag in CppOptions(compile_only=True).get_cflags()]; "
        "subprocess.run(shlex.split(' '.join([get_cpp_compiler(), *flags])), check=True)"
    )
    environment = {**os.environ, "CXX": str(fake_compiler(tmp_path, "g++ (GCC) 12.2.0")), "TMPDIR": str(tmp_path)}
    environment.pop(FLAGS, None)
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    called_with = found.stdout.split()
    assert {"-ffp-contract=off", "-fno-tree-slp-vectorize", "-fno-tree-loop-distribute-patterns"} <= set(called_with)
    assert list(tmp_path.glob("fmanet-*")) == []


def test_flags_of_the_environment_are_kept(monkeypatch):
    monkeypatch.setenv(FLAGS, "fast")
    monkeypatch.setattr(compiling, "_gcc_major", lambda _: 12)
    avoid_wrong_code()
    assert os.environ[FLAGS] == "fast"


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
def test_a_compiled_block_has_the_gradients_of_the_plain_one(half):
    torch._dynamo.reset()
    avoid_wrong_code()
    model = random_model(LITE, seed=3).fold_frames()
    block = model.restoration_network.FRMA_blocks[0]
    features, degradation = torch.randn(2, 4, 24, 3, 32, 32).unbind()
    flows = torch.randn(4, 12, 3, 32, 32)

    def compute(batch, rebuild):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            state = block(RefinementState(features, None, flows), features[:, :, 1], degradation)
        return Loss(state.warped.float().square().mean() + state.flow_masks.float().square().mean())

    step = CheckedStep(compute, dict(block.named_parameters()))
    step(None, False)
    assert step.take_notes() == ()
