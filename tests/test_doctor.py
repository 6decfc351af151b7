"""`fmanet doctor`: every line is ok or says what to do."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from fmanet_cli import doctor
from fmanet_cli.cli.main import main
from fmanet_cli.doctor import Finding, examine


def found(topic: str) -> list[Finding]:
    return [finding for finding in examine() if finding.topic == topic]


def test_every_part_is_looked_at_and_the_json_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["findings"]
    topics = {finding["topic"] for finding in told}
    assert topics >= {"fmanet", "torch", "cpu", "chosen", "encoders", "weights", "cache", "disk"}
    encoders = next(finding for finding in told if finding["topic"] == "encoders")
    assert {"libx264", "libx265", "libsvtav1"} <= set(encoders["facts"]["usable"])
    weights = next(finding for finding in told if finding["topic"] == "weights")
    assert (weights["facts"]["name"], weights["ok"], len(weights["facts"]["sha256"])) == ("lite", True, 64)
    assert list(tmp_path.iterdir()) == []


def test_lines_for_people() -> None:
    lines = CliRunner().invoke(main, ["doctor"]).stdout.splitlines()
    assert any(line.startswith("ok       weights   lite, the default: whole") for line in lines)
    marks = {line.split()[0] for line in lines[:-1]}
    assert marks <= {"ok", "warning", "->"}
    warnings = sum(line.startswith("warning") for line in lines)
    assert sum(line.strip().startswith("->") for line in lines) == warnings
    assert lines[-1] == (f"{warnings} warnings" if warnings else "everything is in order")


def test_damaged_weights_are_a_warning() -> None:
    from fmanet_cli.weights.cache import cache_folder

    cache_folder().mkdir(parents=True)
    (cache_folder() / "mine.safetensors").write_bytes(b"half a file")
    lite, mine = found("weights")
    assert lite.ok
    assert not mine.ok
    assert "mine" in mine.text


def test_a_card_that_this_torch_cannot_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(doctor, "_has_nvidia_card", lambda: False)
    assert found("torch")[0].ok
    monkeypatch.setattr(doctor, "_has_nvidia_card", lambda: True)
    assert "built for CUDA" in found("torch")[0].remedy


def test_what_nobody_has_tried_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(doctor, "_self_check", lambda device: Finding("self-check", str(device)))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 9 << 30)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 1 << 30)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 1)
    monkeypatch.setattr(torch.xpu, "get_device_name", lambda _: "Intel Arc B580")
    (metal,), (xpu,) = found("mps"), found("xpu:0")
    assert metal.text == "Metal, untried by the authors of fmanet"
    assert metal.facts["free"] == 8 << 30
    assert xpu.text == "Intel Arc B580, untried and not used: fmanet has no way to XPU"
    assert found("chosen")[0].text == "mps, fp32"
    monkeypatch.setattr(torch.version, "hip", "6.4")
    card = {"name": "Radeon RX 7900", "major": 11, "minor": 0}
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(**card))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1 << 30, 2 << 30))
    assert doctor._cuda_device(0).text.endswith("; ROCm, untried by the authors of fmanet")


def test_a_broken_torch_is_a_finding_and_the_rest_is_still_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "fmanet_cli.engine.device", raising=False)
    findings = {finding.topic: finding for finding in examine()}
    assert "cannot be imported" in findings["torch"].text
    assert not findings["chosen"].ok
    assert findings["weights"].ok


def test_little_disk_and_an_encoder_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage(10, 9, 1))
    assert not found("disk")[0].ok
    monkeypatch.setattr(doctor, "ENCODERS", ("libx264", "libnothing"))
    encoders = found("encoders")[0]
    assert not encoders.ok
    assert "libnothing" in encoders.text


def test_an_unforeseen_fault_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks() -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setitem(doctor._LOOKS, "encoders", breaks)
    assert found("encoders")[0].text == "cannot be looked at: first line"


def processor_seconds(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_it_costs_little_more_than_torch_itself() -> None:
    alone = processor_seconds("import torch")
    assert processor_seconds("from fmanet_cli.doctor import examine; list(examine())") < alone + 1.5


def test_ray_is_named_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"ray": "2.60.0"}
    monkeypatch.setattr(doctor, "_version_of", versions.get)
    assert [finding.text for finding in found("ray")] == ["2.60.0: --ray shares films on a cluster"]
    versions.clear()
    assert found("ray") == []
