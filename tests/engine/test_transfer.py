"""Ways between host and device; CUDA's streams are played by a recorder where there is no such device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from fmanet_cli.engine.transfer import DirectTransfer, StreamedTransfer, transfer_for


class RecordingStream:
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def wait_stream(self, other: RecordingStream) -> None:
        self.log.append(f"{self.name} waits for {other.name}")

    def record_event(self) -> RecordingEvent:
        self.log.append(f"{self.name} records")
        return RecordingEvent(self.log)


class RecordingEvent:
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def synchronize(self) -> None:
        self.log.append("host waits")


class RecordingCuda:
    """As much of torch.cuda as a transfer needs."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def Stream(self, *, device: torch.device) -> RecordingStream:  # noqa: ARG002, N802
        return RecordingStream("side", self.log)

    def current_stream(self, _device: torch.device) -> RecordingStream:
        return RecordingStream("main", self.log)

    @contextlib.contextmanager
    def stream(self, stream: RecordingStream) -> Iterator[None]:
        self.log.append(f"on {stream.name}")
        yield
        self.log.append(f"off {stream.name}")


class RecordedTensor(torch.Tensor):
    """A host tensor that has streams noted at it."""

    streams: list[str]

    def record_stream(self, stream: RecordingStream) -> None:
        self.streams = [stream.name]


def test_the_host_waits_only_when_it_wants_the_arrays() -> None:
    cuda = RecordingCuda()
    transfer = StreamedTransfer(torch.device("cpu"), cuda=cuda)
    tensor = torch.tensor([[1, -1]], dtype=torch.int16).as_subclass(RecordedTensor)
    arrival = transfer.to_host([tensor])
    assert cuda.log == ["side waits for main", "on side", "side records", "off side"]
    assert tensor.streams == ["side"]
    (array,) = arrival()
    assert cuda.log[-1] == "host waits"
    assert (array.dtype, array.tolist()) == (np.uint16, [[1, 65535]])


def test_an_array_may_be_overwritten_once_it_is_on_its_way() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    sent = StreamedTransfer(torch.device("cpu"), cuda=RecordingCuda()).to_device(array[:, ::-1])
    array[:] = 0
    assert sent.tolist() == [[2, 1, 0], [5, 4, 3]]


def test_direct_copies_are_there_at_once() -> None:
    transfer = transfer_for(torch.device("cpu"))
    assert isinstance(transfer, DirectTransfer)
    sent = transfer.to_device(np.arange(4, dtype=np.float32)[::2])
    assert sent.tolist() == [0, 2]
    assert transfer.to_host([sent, sent.to(torch.uint8)])()[1].dtype == np.uint8


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_frames_survive_many_ways_there_and_back_on_a_gpu() -> None:
    device = torch.device("cuda", 0)
    transfer = transfer_for(device)
    assert isinstance(transfer, StreamedTransfer)
    pending, buffer = [], np.empty((720, 1280, 3), np.float32)
    for number in range(50):
        buffer[:] = number
        pending.append(transfer.to_host([transfer.to_device(buffer) * 2]))
        if len(pending) == 3:
            assert (pending.pop(0)()[0] == 2 * (number - 2)).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_copies_of_a_gpu_are_pinned() -> None:
    transfer = StreamedTransfer(torch.device("cuda", 0))
    assert transfer._pinned_like(torch.empty(3, dtype=torch.int16)).is_pinned()
