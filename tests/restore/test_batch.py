"""A folder of videos: mirrored, finished ones skipped, a broken one never stops the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fmanet_cli.engine import device_errors
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import OptionError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.batch import plan_files, plan_folder, run_batch
from fmanet_cli.restore.folder import search_folder
from fmanet_cli.restore.job import RestoreSettings
from fmanet_cli.restore.records import Records

MakeClip = Callable[..., Path]


def test_a_folder_with_a_finished_and_a_broken_video(make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet) -> None:
    for name in ("in/a.mp4", "in/deep/b.mkv", "in/deep/done.mp4"):
        make_clip(name, count=2)
    (tmp_path / "in/broken.mp4").write_bytes(b"nonsense")
    (tmp_path / "in/notes.txt").write_text("no video")
    done = tmp_path / "out/deep/done.mp4"
    done.parent.mkdir(parents=True)
    done.write_bytes(b"finished")
    items = plan_folder(tmp_path / "in", tmp_path / "out")
    records = Records(tmp_path / "out")
    events = run_batch(items, Restorer(tiny_model, device="cpu"), settings=RestoreSettings(), records=records)
    results = {event.result.item.source.name: event.result for event in events if event.result}
    assert {name: result.state for name, result in results.items()} == {
        "a.mp4": "done",
        "b.mkv": "done",
        "broken.mp4": "failed",
        "done.mp4": "skipped",
    }
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    outputs = {"a.mp4", "deep/b.mkv", "deep/done.mp4"}
    assert found == outputs | {".fmanet/a.mp4.json", ".fmanet/deep/b.mkv.json"}
    assert results["done.mp4"].item.skip_reason.startswith("exists, not ours")
    assert done.read_bytes() == b"finished"
    assert "broken.mp4" in str(results["broken.mp4"].error)


def test_output_inside_the_folder_is_not_restored_again(make_clip: MakeClip, tmp_path: Path) -> None:
    make_clip("in/a.mp4")
    make_clip("in/out/a.mp4")
    items = plan_folder(tmp_path / "in", tmp_path / "in/out")
    assert [item.source for item in items] == [tmp_path / "in/a.mp4"]


def test_pattern_and_depth(make_clip: MakeClip, tmp_path: Path) -> None:
    for name in ("in/a1.mp4", "in/b1.mp4", "in/deep/a2.mp4"):
        make_clip(name, count=1)

    def names(**choices: Any) -> list[str]:
        return [path.name for path in search_folder(tmp_path / "in", **choices).videos]

    assert names(include=["a*"]) == ["a1.mp4", "a2.mp4"]
    assert names(include=["a1*", "b*"]) == ["a1.mp4", "b1.mp4"]
    assert names(exclude=["a*"]) == ["b1.mp4"]
    assert names(recursive=False) == ["a1.mp4", "b1.mp4"]


def test_bad_plans_are_refused(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("in/a.mp4", count=1)
    with pytest.raises(OptionError, match=r"a\.mp4 is not a folder"):
        plan_folder(clip, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match=r"no video in .*empty"):
        plan_folder(tmp_path / "empty", tmp_path / "out")
    other = make_clip("other/a.mp4", count=1)
    with pytest.raises(OptionError, match="would both become"):
        plan_files([clip, other], tmp_path / "out")
    with pytest.raises(OptionError, match="exists; use --overwrite"):
        plan_files([clip], clip.parent)


def test_containers_that_are_only_read_become_matroska(tmp_path: Path) -> None:
    for name in ("a.avi", "b.MP4", "c.gif"):
        (tmp_path / name).touch()
    items = plan_folder(tmp_path, tmp_path / "out")
    assert [item.target.name for item in items] == ["a.mkv", "b.MP4", "c.mkv"]


def test_no_film_inherits_the_tiles_of_another(
    make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_clip("in/a_small.mp4", count=2, height=24, width=32)
    make_clip("in/b_large.mp4", count=2, height=64, width=96)
    make_clip("in/c_small.mp4", count=2, height=32, width=48)
    restorer = Restorer(tiny_model, device="cpu", precision="fp32")
    window = restorer.runner.window

    def window_in_little_memory(states: Any) -> Any:
        if max(states[0].frame.shape[1:]) > 50:
            raise RuntimeError("could not create a primitive")
        return window(states)

    monkeypatch.setattr(restorer.runner, "window", window_in_little_memory)
    events = run_batch(plan_folder(tmp_path / "in", tmp_path / "out"), restorer, settings=RestoreSettings())
    reports = [event.result.report for event in events if event.result]
    assert [report and (str(report.tiling), len(report.warnings)) for report in reports] == [
        ("whole pictures", 0),
        ("tiles of 48 pixels, 16 shared", 1),
        ("whole pictures", 0),
    ]


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_batch_goes_on_after_a_device_error_unless_the_device_is_lost(
    make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    for name in ("in/a.mp4", "in/b.mp4", "in/c.mp4"):
        make_clip(name, count=2)
    restorer = Restorer(tiny_model, device="cpu", precision="fp32")
    window, failures = restorer.runner.window, ["CUDA error: misaligned address\nfor programmers"]

    def failing_window(states: Any) -> Any:
        if failures:
            raise RuntimeError(failures.pop())
        return window(states)

    monkeypatch.setattr(restorer.runner, "window", failing_window)
    monkeypatch.setattr(device_errors, "is_lost", lambda _: is_lost)
    events = run_batch(plan_folder(tmp_path / "in", tmp_path / "out"), restorer, settings=RestoreSettings())
    results = [event.result for event in events if event.result]
    assert [result.state for result in results] == ["failed", *(["failed"] * 2 if is_lost else ["done"] * 2)]
    assert [result.error.exit_code for result in results if result.error] == [5] * (3 if is_lost else 1)
    if is_lost:
        assert str(results[2].error).startswith("not begun: cpu is lost (CUDA error: misaligned address)")
