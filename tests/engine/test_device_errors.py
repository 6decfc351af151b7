"""Exceptions of torch and the libraries below it become one line that says whose fault it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fmanet_cli.engine import device_errors as module
from fmanet_cli.engine.device_errors import device_errors, in_one_line, is_of_device, is_out_of_memory
from fmanet_cli.errors import DeviceError, DeviceLostError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CUDA error: out of memory", True),
        ("Triton Error [CUDA]: out of memory", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`", True),
        ("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED", True),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", True),
        ("GET was unable to find an engine to execute this computation", True),
        ("FIND was unable to find an engine to execute this computation", True),
        ("miopenStatusAllocFailed", True),
        ("could not create a primitive", True),
        ("std::bad_alloc", True),
        ("can't start new thread", True),
        ("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes", True),
        ("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED", False),
        ("shape mismatch", False),
    ],
)
def test_libraries_say_in_their_own_words_that_memory_does_not_suffice(text: str, expected: bool) -> None:
    assert is_out_of_memory(RuntimeError(text)) is expected


def test_numpy_and_python_are_out_of_memory_too() -> None:
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 60, dtype=np.uint8)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CUDA error: no kernel image is available for execution on the device", True),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", True),
        ("HIP error: invalid device function", True),
        ("MPS backend: unsupported operation", True),
        ("Triton Error [CUDA]: device kernel image is invalid", True),
        ("a relationship of the chip", False),
        ("shape mismatch", False),
    ],
)
def test_errors_of_devices_are_told_from_mistakes(text: str, expected: bool) -> None:
    assert is_of_device(RuntimeError(text)) is expected


def test_advice_for_programmers_is_left_out() -> None:
    error = RuntimeError("CUDA error: misaligned address\nCUDA kernel errors might be asynchronously reported\n...")
    assert in_one_line(error) == "CUDA error: misaligned address"
    assert in_one_line(MemoryError()) == "MemoryError"
    assert len(in_one_line(RuntimeError("x" * 5000))) < 400


@pytest.mark.parametrize("lost", [True, False])
def test_a_device_that_computes_no_more_is_lost(monkeypatch: pytest.MonkeyPatch, lost: bool) -> None:
    monkeypatch.setattr(module, "is_lost", lambda _: lost)
    with pytest.raises(DeviceError) as caught, device_errors(CPU):
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")
    assert isinstance(caught.value, DeviceLostError) is lost
    assert "(CUDA error: an illegal memory access was encountered)" in str(caught.value) or not lost
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 5


def test_a_device_that_raises_is_lost_and_one_without_memory_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not module.is_lost(CPU)

    def raising(error: Exception) -> None:
        def ones(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(module.torch, "ones", ones)

    raising(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert module.is_lost(CPU)
    raising(torch.OutOfMemoryError("CUDA out of memory"))
    assert not module.is_lost(CPU)


def test_memory_is_one_line_and_mistakes_come_through() -> None:
    with (
        pytest.raises(DeviceError, match=r"not enough memory for this run on cpu \(std::bad_alloc\)"),
        device_errors(CPU),
    ):
        raise RuntimeError("std::bad_alloc")
    with pytest.raises(ZeroDivisionError), device_errors(CPU):
        raise ZeroDivisionError
