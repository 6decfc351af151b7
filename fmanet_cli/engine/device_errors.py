"""What exceptions of torch and the libraries below it mean: too little memory, a device that fails, or a mistake."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import torch

from fmanet_cli.errors import DeviceError, DeviceLostError

OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "can't start new thread",
    "could not create a primitive",
    "std::bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "_ALLOCATION_FAILED",
    "miopenStatusAllocFailed",
    "unable to find an engine",
)
"""How libraries below torch say that memory does not suffice.

The last one is cuDNN's when no algorithm gets its workspace. It also says so of a precision that the card lacks, but a
network that passed the self-check has met that before.
"""

_OF_DEVICES = re.compile(
    r"\b(CUDA|cuda[A-Z]|cuDNN|CUDNN_|cuBLAS|CUBLAS_|HIP|hip[A-Z]|MIOpen|miopen[A-Z]|MPS|NVML|Triton)"
)
_LONGEST_REASON = 300


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that a device's or the machine's memory did not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(words in text for words in OUT_OF_MEMORY)


def is_of_device(error: BaseException) -> bool:
    """Whether an exception tells of a device that fails, not of a mistake in this program."""
    accelerator_error = getattr(torch, "AcceleratorError", None)
    if accelerator_error is not None and isinstance(error, accelerator_error):
        return True
    kind = type(error).__module__.partition(".")[0]
    is_candidate = isinstance(error, RuntimeError) or kind == "triton"
    return is_candidate and _OF_DEVICES.search(str(error)) is not None


def is_lost(device: torch.device) -> bool:
    """Whether a device computes no more: after some errors every later call of the process fails."""
    try:
        return float(torch.ones(1, device=device).add_(1).cpu()) != 2
    except Exception as error:
        return not is_out_of_memory(error)


def in_one_line(error: BaseException) -> str:
    """What an exception says, without the advice of several lines that CUDA adds."""
    lines = str(error).strip().splitlines()
    text = " ".join(lines[0].split()) if lines else type(error).__name__
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "..."


@contextlib.contextmanager
def device_errors(device: torch.device | str) -> Iterator[None]:
    """Turn what goes wrong with memory or a device inside into one line.

    Raises:
        DeviceLostError: the device computes no more in this process.
        DeviceError: memory does not suffice, or the device reports another error.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            text = f"not enough memory for this run on {device} ({in_one_line(error)}); close other programs"
            raise DeviceError(text) from error
        if not is_of_device(error):
            raise
        if isinstance(device, torch.device) and is_lost(device):
            raise DeviceLostError(
                f"{device} is lost ({in_one_line(error)}): nothing more can be computed on it by this process; "
                "run the command again to go on"
            ) from error
        raise DeviceError(f"{device} failed: {in_one_line(error)}") from error
