"""Fused kernels give the plain code's results: in Triton's interpreter, and on a GPU where there is one."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from fmanet_cli.engine.fast import fused, triton_attention, triton_filters, triton_fusion, triton_glue, warping
from fmanet_cli.engine.fast import triton_kernels as kernels
from support import kernel_cases

CPU = torch.device("cpu")
GLUE = (triton_attention, triton_filters, triton_fusion, triton_glue)
BLOCKS = [name for name in fused._CHECKS if name not in ("warping", "upsampling")]

ROOT = Path(__file__).parents[3]
NAMES = [name for name, _ in kernel_cases.cases()]


def tolerance(name: str) -> float:
    """By what is rounded in between."""
    kernel, *_, dtype = name.split()
    if "rounded" in name:
        # A float32 sum may fall on the other side of a half.
        return 0.005
    if kernel == "network":
        return 1e-4
    # Half a step of 16-bit numbers below 8; float32 coordinates. Upsampling sums in float32 whatever the kernels are.
    return 1e-5 if kernel == "upsample" else {"fp32": 3e-5, "fp16": 2e-3, "bf16": 1.6e-2}[dtype]


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
        # Two minutes with an old Triton on a quiet machine; only what hangs should end here.
        timeout=900,
    )


@pytest.fixture(scope="module")
def interpreted() -> dict[str, float]:
    """The largest difference of each case in the interpreter."""
    pytest.importorskip("triton")
    process = python("tests/support/kernel_cases.py", TRITON_INTERPRET="1", PYTHONPATH=os.pathsep.join(sys.path))
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_in_the_interpreter(interpreted: dict[str, float], name: str) -> None:
    assert interpreted[name] <= tolerance(name)


@pytest.mark.parametrize(
    "capability", [90, *(pytest.param(number, marks=pytest.mark.slow) for number in (75, 80, 86, 89, 120))]
)
def test_every_case_compiles_for_a_gpu_that_is_not_here(tmp_path: Path, capability: int) -> None:
    pytest.importorskip("triton")
    process = python(
        "tests/support/kernel_compiling.py",
        str(capability),
        TRITON_INTERPRET="0",
        TRITON_CACHE_DIR=str(tmp_path),
        PYTHONPATH=os.pathsep.join(sys.path),
    )
    assert process.returncode == 0, process.stderr
    # Strips begin at rows 0, 1, 2 or 3, which Triton takes for up to three kinds of number; dense blocks begin without
    # sums and go on with them; attention is two programs.
    several = {"grow": 2, "fuse": 2, "attention": 2, "filter": 3}
    assert json.loads(process.stdout) == {
        name: 2 if "strips" in name else several.get(name.split()[0], 1)
        for name in NAMES
        if not name.startswith("network")
    }


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("name", "case"), list(kernel_cases.cases()), ids=NAMES)
def test_on_a_gpu(name: str, case: kernel_cases.Case) -> None:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        assert case(torch.device("cuda")) <= tolerance(name)


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    features, flow_masks = torch.zeros(1, 4, 5, 6), torch.zeros(1, 6, 5, 6)
    with pytest.raises(ValueError, match=r"features \(1, 4, 5, 6\) with flow-mask pairs \(1, 6, 5, 6\) into \(1, 3,"):
        kernels.warp_into(torch.zeros(1, 3, 5, 6), features, flow_masks)
    with pytest.raises(ValueError, match=r"pairs \(1, 9, 5, 6\)"):
        kernels.warp_into(torch.zeros(1, 4, 5, 6), features, torch.zeros(1, 9, 5, 6))
    frames, values, target = torch.zeros(3, 3, 5, 6), torch.zeros(3, 16, 9, 2, 6), torch.zeros(3, 8, 24)
    with pytest.raises(ValueError, match=r"frames \(3, 3, 5, 6\) from row 4 with kernels \(3, 16, 9, 2, 6\) into"):
        kernels.dynamic_upsample_into(target, frames, values, first_row=4)
    with pytest.raises(ValueError, match=r"kernels \(3, 16, 4, 2, 6\)"):
        kernels.dynamic_upsample_into(target, frames, torch.zeros(3, 16, 4, 2, 6))
    with pytest.raises(ValueError, match=r"into \(3, 8, 20\)"):
        kernels.dynamic_upsample_into(target[..., :20], frames, values)


@pytest.fixture
def _forgotten() -> Iterator[None]:
    """What is known of a device is asked for again."""
    fused.why_not.cache_clear()
    yield
    fused.why_not.cache_clear()


def plain_upsampling(target, frames, values, *, first_row, residual):
    taps = values.shape[2]
    warping.upsample_into(target, warping.upsample_source(frames, taps), values, first_row=first_row, residual=residual)


@pytest.mark.usefixtures("_forgotten")
@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("triton", None, r"^Triton is not installed \(pip install triton\)$"),
        (
            "warp_into",
            RuntimeError("Failed to find C compiler.\nPlease specify one."),
            "Failed to find C",
        ),
        ("warp_into", torch.Tensor.zero_, "compute wrongly here"),
        ("dynamic_upsample_into", torch.Tensor.zero_, "compute wrongly here"),
        ("dynamic_upsample_into", lambda target: target.fill_(float("nan")), "compute wrongly here"),
        ("warp_into", None, None),
    ],
    ids=["no Triton", "no compiler", "warp zero", "upsampling zero", "upsampling NaN", "right"],
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_kernels_are_used_where_they_compute_what_the_plain_code_does(
    monkeypatch: pytest.MonkeyPatch, name: str, wrong: object, reason: str | None, dtype: torch.dtype
) -> None:
    def failing(target, *_, **__):
        if isinstance(wrong, Exception):
            raise wrong
        wrong(target)

    monkeypatch.setattr(kernels, "triton", object())
    monkeypatch.setattr(kernels, "warp_into", warping.warp_into)
    monkeypatch.setattr(kernels, "dynamic_upsample_into", plain_upsampling)
    for check in BLOCKS:
        monkeypatch.setitem(fused._CHECKS, check, lambda *_: 0.0)
    if reason is not None:
        monkeypatch.setattr(kernels, name, failing if wrong else None)
    found = fused.why_not(CPU, dtype)
    assert found is None if reason is None else re.search(reason, found or "")


@pytest.mark.usefixtures("_forgotten")
@pytest.mark.parametrize("check", BLOCKS)
@pytest.mark.parametrize(
    ("dtype", "error", "is_wrong"),
    [
        (torch.float32, 0.001, False),
        (torch.float32, 0.008, True),
        (torch.float16, 0.008, False),
        (torch.float16, 0.02, True),
        (torch.bfloat16, 0.02, False),
        (torch.bfloat16, 0.1, True),
        (torch.bfloat16, float("nan"), True),
    ],
)
def test_every_kernel_is_held_to_what_its_precision_explains(
    monkeypatch: pytest.MonkeyPatch, check: str, dtype: torch.dtype, error: float, is_wrong: bool
) -> None:
    monkeypatch.setattr(kernels, "triton", object())
    for name in fused._CHECKS:
        monkeypatch.setitem(fused._CHECKS, name, lambda *_, name=name: error if name == check else 0.0)
    expected = f"Triton's kernels compute wrongly here ({check} by {error:.2g})" if is_wrong else None
    assert fused.why_not(CPU, dtype) == expected


def test_the_checks_of_blocks_start_every_kernel() -> None:
    """On tensors without values, where starting is told and nothing runs."""
    meta, started = torch.device("meta"), []

    class Stacks(list):
        def __call__(self, *_: object) -> None:
            started.append(sys._getframe(2).f_code.co_name)

    kernels.observer = Stacks()
    try:
        for check in BLOCKS:
            with pytest.raises(RuntimeError, match="meta"):
                fused._CHECKS[check](meta, torch.float16)
    finally:
        kernels.observer = None
    launching = {name for module in GLUE for name, value in vars(module).items() if _launches(value, module)}
    assert set(started) == launching


def _launches(value: object, module: ModuleType) -> bool:
    return (
        inspect.isfunction(value) and value.__module__ == module.__name__ and "is_observed" in value.__code__.co_names
    )


@pytest.mark.usefixtures("_forgotten")
def test_memory_that_ran_out_says_nothing_of_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    def warp_into(*_: object) -> None:
        raise RuntimeError("Triton Error [CUDA]: out of memory")

    monkeypatch.setattr(kernels, "triton", object())
    monkeypatch.setattr(kernels, "warp_into", warp_into)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            fused.why_not(CPU, torch.float16)


def test_the_module_imports_without_triton() -> None:
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch; from fmanet_cli.engine.fast.fused import why_not\n"
        "print(why_not(torch.device('cuda'), torch.float16))"
    )
    process = python("-c", code)
    assert process.stdout == "Triton is not installed (pip install triton)\n", process.stderr


def test_the_cpu_path_never_imports_triton() -> None:
    code = (
        "import sys, torch, fmanet_cli; from fmanet_cli.engine.fast import network, warping\n"
        "target = torch.zeros(1, 3, 2, 2); warping.warp_into(target, target.clone(), target.clone())\n"
        "print('triton' in sys.modules, 'fmanet_cli.engine.fast.triton_kernels' in sys.modules)"
    )
    process = python("-c", code)
    assert process.stdout == "False False\n", process.stderr
