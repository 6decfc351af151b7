"""`fmanet bench` from the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

from fmanet_cli.cli.main import main as fmanet

QUICK = ("--model", "random:lite", "--device", "cpu", "--precision", "fp32", "--size", "48x32", "--frames", "2")
KEYS = {"fps", "seconds_per_frame", "ratio", "max_difference", "macs_per_pixel", "peak_memory_bytes", "stages"}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(fmanet, ["bench", *map(str, arguments)])


@pytest.fixture
def quick(monkeypatch) -> None:
    from fmanet_cli.bench import benchmark as bench
    from fmanet_cli.bench import one_size as bench_size
    from fmanet_cli.bench.matrix_peak import MatrixPeak
    from fmanet_cli.bench.memory_probe import ProbeResult

    monkeypatch.setattr(bench_size, "probe_memory", lambda _: ProbeResult(True, 123_000_000))
    monkeypatch.setattr(bench, "measure_matrix_peak", lambda *_: MatrixPeak(1e9, 2e9))


@pytest.mark.usefixtures("quick")
def test_json_alone_on_standard_output():
    result = run(*QUICK, "--size", "32x16", "--against", "reference", "--json", "-")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert {"machine", "torch", "date", "sizes"} <= set(report)
    assert list(report["sizes"]) == ["48x32", "32x16"]
    assert all(set(size) >= KEYS for size in report["sizes"].values())
    assert "times as fast" in result.stderr


@pytest.mark.usefixtures("quick")
def test_a_table_for_people_and_a_file(tmp_path):
    result = run(*QUICK, "--json", tmp_path / "bench.json")
    assert result.exit_code == 0
    size = json.loads((tmp_path / "bench.json").read_text())["sizes"]["48x32"]
    lines = {line.rsplit(maxsplit=1)[0]: line.split()[-1] for line in result.stdout.splitlines() if line.strip()}
    assert lines["frames/s, file to file"] == f"{size['fps']:.3g}"
    assert lines["peak memory, MB"] == "123"
    assert lines["multiply-adds per pixel, M"] == f"{size['macs_per_pixel'] / 1e6:.2f}"
    assert "plain network" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--size", "48"), 2, "size must be WIDTHxHEIGHT such as 320x180, got '48'"),
        (("--size", "8x8"), 2, "a size must be at least 16x16, got 8x8"),
        (("--frames", "1"), 2, "--frames"),
        (("--model", "nonsense"), 4, "nonsense"),
        (("--precision", "fp16"), 5, "precision fp16 needs a GPU"),
        (("--json", "nowhere/bench.json"), 2, "the folder for nowhere/bench.json does not exist"),
    ],
)
def test_wrong_options(arguments, code, message):
    result = run(*QUICK, *arguments)
    assert (result.exit_code, message in result.stderr) == (code, True)
    assert not result.stdout


def test_help_does_not_wait_for_torch():
    script = (
        "import sys, fmanet_cli.cli.main as m\ntry: m.main(['bench', '--help'])\n"
        "except SystemExit: sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--against" in done.stdout
