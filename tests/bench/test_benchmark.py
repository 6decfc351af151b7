"""What a benchmark measures, and what it says where it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fmanet_cli.bench import benchmark as bench_module
from fmanet_cli.bench import memory_probe
from fmanet_cli.bench import one_size as bench_size
from fmanet_cli.bench.benchmark import Benchmark, BenchSettings, parse_size
from fmanet_cli.bench.matrix_peak import MatrixPeak
from fmanet_cli.bench.memory_probe import ProbeRequest, ProbeResult, probe_memory, run_probe
from fmanet_cli.bench.steps import (
    ModelSteps,
    StepSeconds,
    difference,
    encoder_planes,
    median_stages,
    timed_encode,
    timed_stream,
)
from fmanet_cli.bench.synthetic import synthetic_frames, write_synthetic_clip
from fmanet_cli.engine import restorer as restorer_module
from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import DeviceError, OptionError, WeightsError
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.weights.checkpoint import load_model

REQUEST = ProbeRequest(
    model="random:lite",
    device="cpu",
    precision="fp32",
    engine="streaming",
    compiled="off",
    height=32,
    width=48,
    threads=1,
)
FITS, DOES_NOT_FIT = ProbeResult(True, 1000, 1500), ProbeResult(False, None)


@pytest.fixture
def quick(monkeypatch) -> None:
    """Without other processes and plain work."""
    monkeypatch.setattr(bench_size, "probe_memory", lambda _: FITS)
    monkeypatch.setattr(bench_module, "measure_matrix_peak", lambda *_: MatrixPeak(1e9, 2e9))


def settings(**changes) -> BenchSettings:
    return BenchSettings(
        **({"model": "random:lite", "sizes": ((32, 48),), "device": "cpu", "precision": "fp32", "frames": 3} | changes)
    )


def report_of(bench: Benchmark) -> dict:
    for _ in bench.run():
        pass
    assert bench.report is not None
    return bench.report.as_dict()


def test_everything_is_measured_against_the_plain_network():
    bench = Benchmark(settings(against="reference"))
    progress = list(bench.run())
    assert [event.done for event in progress] == list(range(progress[0].total + 1))
    assert bench.report is not None
    report = bench.report.as_dict()
    json.dumps(report, allow_nan=False)
    assert list(report["sizes"]) == ["48x32"]
    assert (report["model"], report["device"], report["precision"]) == ("random:lite", "cpu", "fp32")
    size = report["sizes"]["48x32"]
    assert size["max_difference"] <= 1e-4
    assert size["ratio"] == pytest.approx(size["reference"]["seconds_per_frame"] / size["model_seconds_per_frame"])
    assert size["end_to_end_share"] == pytest.approx(size["model_seconds_per_frame"] / size["seconds_per_frame"])
    assert 0 < size["macs_per_pixel"] < size["reference"]["macs_per_pixel"]
    assert size["seconds_per_frame"] == pytest.approx(1 / size["fps"])
    assert set(size["stages"]) == {"decode", "upload", "frame_features", "window", "download", "encode"}
    assert all(seconds > 0 for seconds in size["stages"].values())
    assert size["frames"] == size["reference"]["pairs"] == 3
    assert size["share_of_matrix_peak"] > 0
    if sys.platform == "linux":
        assert 1e6 < size["peak_memory_bytes"] < size["reference"]["peak_memory_bytes"] < 1e9


@pytest.mark.usefixtures("quick")
def test_without_a_reference_its_figures_are_null():
    size = report_of(Benchmark(settings(frames=2)))["sizes"]["48x32"]
    assert (size["ratio"], size["max_difference"], size["reference"]) == (None, None, None)
    assert (size["peak_memory_bytes"], size["reserved_memory_bytes"]) == (1000, 1500)
    assert size["share_of_matrix_peak"] == pytest.approx(size["macs_per_second"] / 2e9)


@pytest.mark.usefixtures("quick")
def test_memory_is_measured_with_nothing_kept_of_the_matrix_peak(monkeypatch):
    events = []

    def probed(_):
        events.append("probed")
        return DOES_NOT_FIT

    monkeypatch.setattr(bench_module, "measure_matrix_peak", lambda *_: events.append("peak") or MatrixPeak(1e9, 2e9))
    monkeypatch.setattr(bench_module, "free_device_memory", lambda _: events.append("freed"))
    monkeypatch.setattr(bench_size, "probe_memory", probed)
    with pytest.raises(DeviceError):
        report_of(Benchmark(settings()))
    assert events == ["peak", "freed", "probed"]


@pytest.mark.usefixtures("quick")
def test_a_plain_network_that_does_not_fit_is_not_run(monkeypatch):
    fits = {"streaming": FITS, "reference": DOES_NOT_FIT}
    monkeypatch.setattr(bench_size, "probe_memory", lambda request: fits[request.engine])
    bench = Benchmark(settings(frames=2, against="reference"))
    progress = list(bench.run())
    assert progress[-1].done == progress[-1].total
    assert bench.report is not None
    size = bench.report.sizes["48x32"]
    assert (size.ratio, size.max_difference) == (None, None)
    assert size.reference is not None
    assert (size.reference.pairs, size.reference.seconds_per_frame, size.reference.peak_memory_bytes) == (0, None, None)


@pytest.mark.usefixtures("quick")
def test_running_out_of_memory_later_is_said_alike(monkeypatch):
    def too_large(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(bench_size, "ModelSteps", too_large)
    with pytest.raises(DeviceError, match="whole frames of 48x32 do not fit"):
        report_of(Benchmark(settings()))


@pytest.mark.usefixtures("quick")
def test_a_size_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(bench_size, "probe_memory", lambda _: DOES_NOT_FIT)
    with pytest.raises(DeviceError, match="whole frames of 48x32 do not fit into the memory of cpu; leave this"):
        report_of(Benchmark(settings()))


@pytest.mark.usefixtures("quick")
def test_graphs_are_asked_for_where_time_and_memory_are_measured(monkeypatch):
    requests, recorded = [], []

    def graphed(runner, mode, *, device, **_):
        recorded.append((mode, device))
        return runner

    monkeypatch.setattr(bench_module, "check_recordable", lambda _: None)
    monkeypatch.setattr(restorer_module, "graphed", graphed)
    monkeypatch.setattr(bench_size, "probe_memory", lambda request: requests.append(request) or FITS)
    report = report_of(Benchmark(settings(compiled="on", against="reference")))
    assert report["compiled"] == "on"
    assert [(request.engine, request.compiled) for request in requests] == [("streaming", "on"), ("reference", "off")]
    assert recorded == [("on", torch.device("cpu")), ("off", torch.device("cpu"))]
    assert report["sizes"]["48x32"]["macs_per_pixel"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": ((15, 64),)}, "at least 16x16, got 64x15"),
        ({"frames": 1}, "frames must be at least 2, got 1"),
        ({"against": "bicubic"}, "against must be reference, got 'bicubic'"),
    ],
)
def test_settings_out_of_range(changes, message):
    with pytest.raises(OptionError, match=message):
        settings(**changes)


def test_weights_and_devices_are_looked_for_before_the_run():
    with pytest.raises(WeightsError):
        Benchmark(settings(model="nonsense"))
    with pytest.raises(DeviceError, match="fp16 needs a GPU"):
        Benchmark(settings(precision="fp16"))
    with pytest.raises(DeviceError, match="need a CUDA device, not cpu; leave compile at auto"):
        Benchmark(settings(compiled="on"))


def test_sizes_are_width_by_height():
    assert parse_size("320X180") == (180, 320)
    for text in ("320", "x180", "320x180x3", "-320x180"):
        with pytest.raises(OptionError, match="size must be WIDTHxHEIGHT such as 320x180, got"):
            parse_size(text)


class RecordingRestorer:
    """Letters instead of frames."""

    device = torch.device("cpu")
    scale = 4
    model = SimpleNamespace(config=SimpleNamespace(num_frames=3))

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.runner = self.eager_runner = self

    def upload(self, image: str) -> str:
        return image

    def frame_state(self, frame: str) -> str:
        self.calls.append(frame)
        return frame.upper()

    def window(self, states: list[str]) -> torch.Tensor:
        self.calls.append("".join(states))
        return torch.zeros(3, 4, 4)

    def download(self, restored: torch.Tensor) -> np.ndarray:
        return restored.numpy()


def test_a_step_is_one_frame_and_one_window():
    restorer = RecordingRestorer()
    steps = ModelSteps(restorer, "abcd")  # type: ignore[arg-type]
    assert restorer.calls == ["a", "b", "c"]
    restorer.calls.clear()
    for _ in range(3):
        steps.step()
    assert restorer.calls == ["d", "BCD", "a", "CDA", "b", "DAB"]


def test_a_step_ends_with_what_the_encoder_takes(tmp_path):
    (frame,) = synthetic_frames(24, 32, count=1)
    like = write_synthetic_clip(tmp_path / "clip.mp4", height=24, width=32, count=1)
    plane_format = encoder_planes(tmp_path / "out.mp4", like=like, scale=4)
    assert plane_format is not None
    assert list(tmp_path.iterdir()) == [tmp_path / "clip.mp4"]
    restorer = Restorer(load_model("random:lite"), device="cpu", precision="fp32", tile=0)
    steps = ModelSteps(restorer, [frame.image], plane_format=plane_format)
    steps.step()
    assert [plane.shape for plane in steps.image] == [(96, 128), (48, 64), (48, 64)]
    assert timed_encode(tmp_path / "out.mp4", [steps.image], like=like, scale=4, count=3) > 0
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert len(list(reader)) == 3


def test_what_the_device_hides_is_not_counted():
    assert ModelSteps(RecordingRestorer(), "abcd").count() is None  # type: ignore[arg-type]


def test_the_paper_configuration_stays_below_15_million_multiply_adds():
    images = [frame.image for frame in synthetic_frames(24, 32, count=3)]
    counts = {}
    for engine in ("streaming", "reference"):
        restorer = Restorer(load_model("random:paper"), device="cpu", precision="fp32", tile=0, engine=engine)
        counts[engine] = ModelSteps(restorer, images).count()
    assert counts["streaming"] <= 15.0e6
    assert 23e6 < counts["reference"] < 24.5e6


def test_passes_of_several_windows_are_run_once_before_they_are_timed(monkeypatch):
    class CountingRestorer:
        pass_size = 1

        def start(self, height, width):
            assert (height, width) == (24, 32)
            return self

        def restore(self, frames):
            lengths.append(len(list(frames)))
            return iter(())

    lengths: list[int] = []
    frames = list(synthetic_frames(24, 32, count=2))
    monkeypatch.setattr(CountingRestorer, "pass_size", 4)
    timed_stream(CountingRestorer(), frames, None, count=10)  # type: ignore[arg-type]
    # Two passes of four windows, the last of two.
    assert lengths == [4 + 2, 10]
    monkeypatch.undo()
    timed_stream(CountingRestorer(), frames, None, count=10)  # type: ignore[arg-type]
    assert lengths[2:] == [10]


def test_stages_are_medians():
    steps = [StepSeconds(upload=value, frame_features=2, window=3, download=9 - value) for value in (1, 2, 6)]
    medians = median_stages(steps, decode=0.5, encode=0.25)
    assert (medians.upload, medians.download, medians.decode, medians.encode) == (2, 7, 0.5, 0.25)
    assert medians.model == steps[0].model == 5


def test_difference_is_absolute_before_and_squared_after_clipping():
    ours, reference = torch.tensor([0.5, -1.0, 1.0]), torch.tensor([0.25, 0.0, 3.0])
    assert difference(ours, reference) == (2.0, pytest.approx(0.0625 / 3))


def test_the_clip_moves_and_is_the_same_every_time(tmp_path):
    first, second = synthetic_frames(32, 48, count=2)
    np.testing.assert_array_equal(second.image[1:, 2:], first.image[:-1, :-2])
    assert np.abs(second.image - first.image).mean() > 0.02
    write_synthetic_clip(tmp_path / "clip.mp4", height=32, width=48, count=5)
    with VideoReader(tmp_path / "clip.mp4") as reader:
        frames = list(reader)
    assert (len(frames), reader.info.height, reader.info.width, reader.info.frame_rate) == (5, 32, 48, Fraction(25))
    assert np.abs(frames[1].image - second.image).mean() < 0.02


MEMORY_BEFORE_AND_AFTER_THE_START = """
from fmanet_cli.bench import memory_probe

def use(mebibytes):
    bytearray(b"x") * (mebibytes << 20)

use(256)
start = memory_probe._resident_bytes()
use(64)
print(memory_probe._peak_bytes() - start)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_used_before_the_start_does_not_count():
    # In a process of its own: the system may take pages from one that has run for minutes, at any time.
    used = subprocess.run(
        [sys.executable, "-c", MEMORY_BEFORE_AND_AFTER_THE_START], check=True, capture_output=True, text=True
    ).stdout
    assert 60 << 20 < int(used) < 128 << 20


@pytest.mark.parametrize("largest", [0, 32], ids=["nothing fits", "tiles fit"])
def test_running_out_of_memory_is_a_result(monkeypatch, largest):
    window = StreamingRunner.window

    def too_large(self, states):
        if max(states[0].frame.shape[-2:]) > largest:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return window(self, states)

    monkeypatch.setattr(StreamingRunner, "window", too_large)
    assert run_probe(REQUEST) == DOES_NOT_FIT


def test_a_killed_process_ran_out_of_memory(monkeypatch):
    finished = subprocess.CompletedProcess([], -9, stdout="", stderr="")
    monkeypatch.setattr(memory_probe.subprocess, "run", lambda *_, **__: finished)
    assert probe_memory(REQUEST) == DOES_NOT_FIT


def test_a_process_that_fails_says_why(monkeypatch):
    finished = subprocess.CompletedProcess([], 1, stdout="", stderr="Traceback\n  ...\nValueError: no such thing\n")
    monkeypatch.setattr(memory_probe.subprocess, "run", lambda *_, **__: finished)
    with pytest.raises(DeviceError, match="the memory of 48x32 could not be measured: ValueError: no such thing"):
        probe_memory(REQUEST)
