"""Arrays to the device and back; on CUDA through pinned memory, while the device goes on computing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Arrival = Callable[[], list[np.ndarray]]
"""Waits until arrays are there; to be called once."""


class DirectTransfer:
    """Copies that are done when the call returns."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def to_device(self, array: np.ndarray) -> Tensor:
        """An array as a tensor on the device; on the CPU it is the array itself where that is contiguous."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def to_host(self, tensors: Sequence[Tensor]) -> Arrival:
        """Tensors of the device as arrays; int16 stands for uint16."""
        arrays = [as_array(tensor.cpu()) for tensor in tensors]
        return lambda: arrays


class StreamedTransfer:
    """Copies that a CUDA device does beside its computing.

    Pinned memory comes from torch's caching host allocator: it keeps blocks that are dropped, and gives one out again
    only when the copies that were queued with it are done. So no frame allocates once as many blocks exist as frames
    are under way, and an array may be kept for as long as anybody needs it.
    """

    def __init__(self, device: torch.device, *, cuda: Any = torch.cuda) -> None:
        """`cuda`: what has CUDA's streams."""
        self._device, self._cuda = device, cuda
        self._side = cuda.Stream(device=device)

    def to_device(self, array: np.ndarray) -> Tensor:
        """An array as a tensor on the device, for the stream that computes; the array may be overwritten at once."""
        source = torch.from_numpy(np.ascontiguousarray(array))
        return self._pinned_like(source).copy_(source).to(self._device, non_blocking=True)

    def to_host(self, tensors: Sequence[Tensor]) -> Arrival:
        """Queue the way to the host behind what is queued to compute the tensors; int16 stands for uint16."""
        self._side.wait_stream(self._cuda.current_stream(self._device))
        with self._cuda.stream(self._side):
            copies = [self._pinned_like(tensor).copy_(tensor, non_blocking=True) for tensor in tensors]
            done = self._side.record_event()
        for tensor in tensors:
            # Else the computing stream would get the memory of a dropped tensor before the copy has read it.
            tensor.record_stream(self._side)

        def arrival() -> list[np.ndarray]:
            done.synchronize()
            return [as_array(copy) for copy in copies]

        return arrival

    def _pinned_like(self, tensor: Tensor) -> Tensor:
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=self._device.type == "cuda")


def transfer_for(device: torch.device) -> DirectTransfer | StreamedTransfer:
    """The way between the host and a device."""
    return StreamedTransfer(device) if device.type == "cuda" else DirectTransfer(device)


def as_array(tensor: Tensor) -> np.ndarray:
    """A tensor of the host as an array of the same memory; int16 stands for uint16."""
    array = tensor.numpy()
    return array.view(np.uint16) if tensor.dtype == torch.int16 else array
