"""What tests of runs share."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.span_worker import WorkerSetup
from support.shared_film import write_shared_film


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A film of 45 frames with sound, for runs that share it."""
    return write_shared_film(tmp_path / "clip.mp4")


@pytest.fixture
def restorer(tiny_model: FMANet) -> Restorer:
    """`tiny_model` on the CPU in float32."""
    return Restorer(tiny_model, device="cpu", precision="fp32")


@pytest.fixture
def setup(tiny_model: FMANet) -> WorkerSetup:
    """What a worker needs to restore as `restorer` does, in one thread."""
    return WorkerSetup(model=tiny_model, device="cpu", precision="fp32", tile="auto", tile_overlap=16, threads=1)
