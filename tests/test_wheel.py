"""The built wheel runs in an environment of its own, away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
BIN = "Scripts" if os.name == "nt" else "bin"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; torch and the others are those of the tests, which nobody wants twice."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", folder, CHECKOUT], check=True)
    (wheel,) = folder.glob("*.whl")
    fresh = folder / "environment"
    venv.create(fresh, with_pip=False)
    subprocess.run([*pip, "--python", fresh, "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    (packages,) = fresh.rglob("site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return fresh


@pytest.mark.slow
def test_the_wheel_restores_with_its_own_weights(environment: Path, make_clip, tmp_path: Path) -> None:
    clip, away = make_clip(), tmp_path / "away"
    away.mkdir()
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command: object) -> str:
        done = subprocess.run(
            list(map(str, command)), check=False, cwd=away, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    fmanet = environment / BIN / "fmanet"
    where = run(environment / BIN / "python", "-c", "import fmanet_cli; print(fmanet_cli.__file__)")
    assert Path(where.strip()).is_relative_to(environment)
    assert run(fmanet, "--version").startswith("fmanet, version ")
    assert "lite *  embedded" in run(fmanet, "weights", "list")
    run(fmanet, "restore", clip, "-o", "sharp.mp4")
    run(fmanet, "compare", clip, "sharp.mp4")
    run(fmanet, "explain", clip, "-o", "inside.png")
    assert {path.name for path in away.iterdir()} == {"sharp.mp4", "sharp_compared.html", "inside.png"}
