"""Films shared on a Ray cluster of three nodes on this machine, one of which is lost on the way."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import DeviceError, OptionError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore import ray_cluster as module
from fmanet_cli.restore.job import RestoreJob
from fmanet_cli.restore.ray_cluster import RayCluster
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.restore.span_pool import SpanPool
from fmanet_cli.restore.span_worker import WorkerSetup
from support.clips import make_clip, packet_payloads, packet_times

COUNT = 60
LEAST_STORE_BYTES = 80_000_000


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionError, match=r"Ray is not installed here; install fmanet with its extra, '\.\[ray\]'"):
        RayCluster("auto")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that computes nothing, and three nodes of one core."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": LEAST_STORE_BYTES})
    for _ in range(3):
        made.add_node(num_cpus=1, object_store_memory=LEAST_STORE_BYTES)
    yield made
    made.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("ships", [False, True])
def test_a_lost_node_costs_nothing_of_the_film(
    cluster: Any, tmp_path: Path, tiny_model: FMANet, ships: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, target, whole = tmp_path / "clip.mp4", tmp_path / "shared.mp4", tmp_path / "whole.mp4"
    make_clip(clip, count=COUNT, height=24, width=32, time_base=Fraction(1, 12000), audio=["aac"])
    restorer, settings = Restorer(tiny_model, device="cpu", precision="fp32"), RestoreSettings(segment_frames=5)
    for _ in RestoreJob(clip, whole, restorer, settings=settings).run():
        pass
    setup = WorkerSetup(model=tiny_model, device="cpu", precision="fp32", tile="auto", tile_overlap=16, threads=1)
    spare = cluster.add_node(num_cpus=1, object_store_memory=LEAST_STORE_BYTES)
    cluster.wait_for_nodes()
    is_lost = False
    # Shorter than a process takes to begin: it is waited for again, not begun again.
    monkeypatch.setattr(module, "START_SECONDS", 0.05)
    monkeypatch.setattr("fmanet_cli.restore.span_pool._SECONDS_BETWEEN_LOOKS", 0.1)
    names = itertools.count(1)
    monkeypatch.setattr(module, "_names_given", names)
    with RayCluster(cluster.address) as ray_cluster:
        starters = ray_cluster.starters(setup, cpus=1, ships=ships)
        assert len(starters) == 4
        with SpanPool(starters) as pool:
            job = RestoreJob(clip, target, restorer, settings=settings, pool=pool)
            for progress in job.run():
                if progress.frames_done >= 12 and not is_lost:
                    cluster.remove_node(spare, allow_graceful=False)
                    is_lost = True
    assert is_lost
    assert next(names) <= 4 + 1 + 1
    assert job.report is not None
    assert job.report.frames == COUNT
    for kind in ("video", "audio"):
        assert packet_payloads(target, kind) == packet_payloads(whole, kind)
        assert packet_times(target, kind) == packet_times(whole, kind)


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_line() -> None:
    pytest.importorskip("ray")
    with pytest.raises(DeviceError, match=r"no Ray cluster answers at 127\.0\.0\.1:1: .*'ray start' begins one"):
        RayCluster("127.0.0.1:1")
