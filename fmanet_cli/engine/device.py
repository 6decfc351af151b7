"""Where and in which precision the network runs: explicit choices are honoured or refused."""

from __future__ import annotations

from typing import Literal

import torch

from fmanet_cli.errors import DeviceError, OptionError

Precision = Literal["fp32", "fp16", "bf16"]

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "could not create a primitive",
    "std::bad_alloc",
    "can't start new thread",
    "unable to find an engine",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "miopenStatusAllocFailed",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "_ALLOCATION_FAILED",
)
"""How libraries below torch say that memory does not suffice."""


def choose_device(name: str = "auto") -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU; anything else must be there.

    Args:
        name: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        DeviceError: the named device is not available.
        OptionError: the name is none of these.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and (kind != "cuda" or not number.isdigit())):
        raise OptionError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise DeviceError(f"device {name} was asked for, but no CUDA device is available; use --device cpu")
        if int(number or 0) >= count:
            raise DeviceError(f"device {name} was asked for, but there are only {count} CUDA devices (from cuda:0)")
        return torch.device("cuda", int(number or 0))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device mps was asked for, but this machine has no Metal device; use --device cpu")
    return torch.device(kind)


def choose_precision(name: str, device: torch.device) -> Precision:
    """`auto` takes fp16 on GPUs, bf16 on CPUs with bfloat16 instructions and fp32 elsewhere.

    Flow, sampling grids, normalisations and softmax are float32 in all of them. On CUDA, 16-bit precisions round the
    weights of the layers that predict flow to 10 bits (TF32); their inputs are 16-bit numbers, which TF32 holds.

    Raises:
        DeviceError: the device cannot compute in this precision at a useful speed.
        OptionError: the name is none of auto, fp32, fp16, bf16.
    """
    if name == "auto":
        if device.type == "cpu":
            return "bf16" if cpu_has_bfloat16() else "fp32"
        return "fp16"
    if name not in DTYPES:
        raise OptionError(f"unknown precision {name!r}; use auto, fp32, fp16 or bf16")
    if name == "fp16" and device.type == "cpu":
        raise DeviceError("precision fp16 needs a GPU; use --precision bf16 or fp32 on a CPU")
    if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError("this CUDA device has no bfloat16; use --precision fp16 or fp32")
    return name  # type: ignore[return-value]


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 matrices itself (AVX512-BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that a device's or the machine's memory did not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(words in text for words in OUT_OF_MEMORY)


def full_float32(device: torch.device, precision: Precision) -> None:
    """Makes fp32 mean float32 on CUDA too, where convolutions would round their inputs to 10 bits (TF32)."""
    if device.type == "cuda" and precision == "fp32":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def free_device_memory(device: torch.device) -> None:
    """Returns cached blocks to the device, so that smaller ones can be cut from them."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
