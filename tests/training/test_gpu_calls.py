"""What a borrowed GPU machine is given to do, rehearsed on a CPU."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fmanet_cli.weights.checkpoint import load_model
from fmanet_cli.weights.registry import EMBEDDED_FOLDER

TOOLS = Path(__file__).parents[2] / ".ci/gpu"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a bash script")
def test_two_calls_train_on_and_bring_back_files_that_can_be_carried(tmp_path):
    photos, carried = tmp_path / "photos", tmp_path / "carried"
    photos.mkdir()
    for number in range(2):
        coarse = np.random.default_rng(number).integers(0, 255, (150, 150, 3), dtype=np.uint8)
        cv2.imwrite(str(photos / f"{number}.jpg"), cv2.resize(coarse, (900, 1300), interpolation=cv2.INTER_CUBIC))
    start = EMBEDDED_FOLDER / "lite.safetensors"
    prepare = ["--photos", photos, "--validate", photos, "--start", start, "--target", carried]
    environment = {**os.environ, "GPU_FOLDER": str(carried), "GPU_DEVICE": "cpu", "GPU_RECIPE": "lite"}
    environment["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    subprocess.run([sys.executable, TOOLS / "prepare.py", *prepare], check=True, env=environment)
    sizes = ("--windows", "1", "--window-size", "16", "--precision", "fp32", "--validate-every", "1000", "-q")
    for call in (1, 2):
        out = tmp_path / f"out{call}"
        out.mkdir()
        # So short that a single step is made.
        done = subprocess.run(
            [TOOLS / "run", out, "0.0001", *sizes], check=False, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert ("gradients on cpu" in done.stdout) is (call == 1)
        assert len((out / "steps.csv").read_text().splitlines()) == 1 + call
        assert max(path.stat().st_size for path in out.iterdir()) < 16 * 2**20
        load_model(str(out / "raw.safetensors"))
        shutil.copytree(out, carried / "state", dirs_exist_ok=True)
