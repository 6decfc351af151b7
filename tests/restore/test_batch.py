"""A folder of videos: mirrored, finished ones skipped, a broken one never stops the rest."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fmanet_cli.engine import device_errors
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import OptionError, UnexpectedError, VideoWriteError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.batch import BatchResult, restore_folder, run_batch
from fmanet_cli.restore.folder import Search, search_folder
from fmanet_cli.restore.inputs import BatchItem, plan_files, plan_inputs
from fmanet_cli.restore.job import RestoreJob
from fmanet_cli.restore.records import Records
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.video.write.codecs import EncoderOptions

MakeClip = Callable[..., Path]


def plan_folder(folder: Path, target: Path, **choices: Any) -> list[BatchItem]:
    return plan_inputs([folder], target, Search(**choices))[0]


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
        return [path.name for path in search_folder(tmp_path / "in", Search(**choices)).videos]

    assert names(include=["a*"]) == ["a1.mp4", "a2.mp4"]
    assert names(include=["a1*", "b*"]) == ["a1.mp4", "b1.mp4"]
    assert names(exclude=["a*"]) == ["b1.mp4"]
    assert names(recursive=False) == ["a1.mp4", "b1.mp4"]


def test_bad_plans_are_refused(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("in/a.mp4", count=1)
    with pytest.raises(OptionError, match=r"b\.mp4 does not exist"):
        plan_folder(tmp_path / "in/b.mp4", tmp_path / "out")
    with pytest.raises(OptionError, match=r"nothing matches .*\*\.mkv"):
        plan_folder(tmp_path / "in/*.mkv", tmp_path / "out")
    with pytest.raises(OptionError, match="would become itself"):
        plan_folder(clip, clip.parent)
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match=r"no video in .*empty"):
        plan_folder(tmp_path / "empty", tmp_path / "out")
    other = make_clip("other/a.mp4", count=1)
    with pytest.raises(OptionError, match="would both become"):
        plan_files([clip, other], tmp_path / "out")
    with pytest.raises(OptionError, match=r"a\.mp4 is named twice and would become .*out.a\.mp4 twice; name it once"):
        plan_files([clip, clip], tmp_path / "out")
    with pytest.raises(OptionError, match="exists; choose another name or overwrite it"):
        plan_files([clip], other.parent)


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
    settings = RestoreSettings(verify=False)  # The network is no good: what matters is that it runs in tiles.
    events = run_batch(plan_folder(tmp_path / "in", tmp_path / "out"), restorer, settings=settings)
    reports = [event.result.report for event in events if event.result]
    assert [report and (str(report.tiling), len(report.warnings)) for report in reports] == [
        ("whole frames", 0),
        ("tiles of 48 pixels, 16 shared", 1),
        ("whole frames", 0),
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


def run_all(folder: Path, target: Path, restorer: Restorer, **choices: Any) -> dict[str, BatchResult]:
    """One call of the command on a folder."""
    settings = RestoreSettings(**choices)
    events = run_batch(plan_folder(folder, target), restorer, settings=settings, records=Records(target))
    return {event.result.item.source.name: event.result for event in events if event.result}


def test_finished_ones_are_told_from_others(make_clip: MakeClip, tmp_path: Path, restorer: Restorer) -> None:
    for name in ("a", "b", "c", "d"):
        make_clip(f"in/{name}.mp4", count=1, height=16, width=16)
    folder, out = tmp_path / "in", tmp_path / "out"
    out.mkdir()
    (out / "d.mp4").write_bytes(b"five.")
    first = run_all(folder, out, restorer)
    assert {name: result.state for name, result in first.items()} == {
        "a.mp4": "done",
        "b.mp4": "done",
        "c.mp4": "done",
        "d.mp4": "skipped",
    }
    (folder / "b.mp4").unlink()
    make_clip("in/b.mp4", count=2, height=16, width=16)
    with (out / "c.mp4").open("ab") as file:
        file.write(b"changed")
    again = run_all(folder, out, restorer, encoder=EncoderOptions(crf=30))
    reasons = {name: result.item.skip_reason for name, result in again.items()}
    assert reasons["a.mp4"] == "exists, made with other options: options.encoder.crf was None and is 30"
    assert reasons["b.mp4"] == "exists, made from another source of this name"
    assert reasons["c.mp4"].startswith("exists, not ours: it was changed")
    assert reasons["d.mp4"].startswith("exists, not ours: no record")
    # A source that was only copied or touched is the same.
    (folder / "a.mp4").touch()
    assert run_all(folder, out, restorer)["a.mp4"].item.skip_reason == "finished already"
    unverified = run_all(folder, tmp_path / "second", restorer, verify=False)
    assert {result.state for result in unverified.values()} == {"done"}
    assert run_all(folder, tmp_path / "second", restorer)["a.mp4"].item.skip_reason == "finished already, not verified"


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1}', '{"format": 1, "output": 3}', "[" * 100_000])
def test_a_damaged_record_makes_nothing_ours(
    make_clip: MakeClip, tmp_path: Path, restorer: Restorer, content: str
) -> None:
    make_clip("in/a.mp4", count=1, height=16, width=16)
    (tmp_path / "out/.fmanet").mkdir(parents=True)
    (tmp_path / "out/a.mp4").touch()
    (tmp_path / "out/.fmanet/a.mp4.json").write_text(content)
    [result] = run_all(tmp_path / "in", tmp_path / "out", restorer).values()
    assert result.item.skip_reason.startswith("exists, not ours")


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyError(2), RecursionError(), ValueError("x")])
def test_any_exception_of_one_film_is_one_failed_row(
    make_clip: MakeClip, tmp_path: Path, restorer: Restorer, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    for name in ("a", "b", "c"):
        make_clip(f"in/{name}.mp4", count=1, height=16, width=16)
    run = RestoreJob.run

    def fail_at_b(self: RestoreJob) -> Any:
        if "b.mp4" in self.source:
            raise error
        return run(self)

    monkeypatch.setattr(RestoreJob, "run", fail_at_b)
    results = run_all(tmp_path / "in", tmp_path / "out", restorer)
    assert [result.state for result in results.values()] == ["done", "failed", "done"]
    failure = results["b.mp4"].error
    assert isinstance(failure, UnexpectedError)
    assert failure.__cause__ is error


def test_a_folder_that_cannot_be_made_is_a_failed_row(make_clip: MakeClip, tmp_path: Path, restorer: Restorer) -> None:
    for name in ("in/a/1.mp4", "in/b/2.mp4"):
        make_clip(name, count=1, height=16, width=16)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").write_text("a file in its place")
    results = run_all(tmp_path / "in", tmp_path / "out", restorer)
    assert {name: result.state for name, result in results.items()} == {"1.mp4": "failed", "2.mp4": "done"}
    assert isinstance(results["1.mp4"].error, VideoWriteError)


@pytest.mark.skipif(os.name != "posix", reason="names of any bytes")
def test_names_of_every_kind(make_clip: MakeClip, tmp_path: Path, restorer: Restorer) -> None:
    clip = make_clip("clip.mp4", count=1, height=16, width=16).read_bytes()
    (tmp_path / "in").mkdir()
    names = ["ünï code 😀.mp4", "日本語.mkv", "x" * 246 + ".mp4", "a: b.mp4", "\x1b]0;t.mp4"]
    names.append(os.fsdecode(b"\xff\xfe.mp4"))
    for name in names:
        (tmp_path / "in" / name).write_bytes(clip)
    results = run_all(tmp_path / "in", tmp_path / "out", restorer)
    assert {name: result.state for name, result in results.items()} == dict.fromkeys(names, "done")
    again = run_all(tmp_path / "in", tmp_path / "out", restorer)
    assert {result.item.skip_reason for result in again.values()} == {"finished already"}


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    videos, others = ("a.mp4", "b.asf", "c.DAV"), ("d.txt", "e.txt", "f.jpg", "noise")
    for name in (*videos, *others, ".hidden.mp4", "@eaDir/g.mp4", ".git/h.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/loop").symlink_to(tmp_path)
    (tmp_path / "round.mp4").symlink_to("round.mp4")
    (tmp_path / "nothing.mp4").symlink_to("gone.mp4")
    content = search_folder(tmp_path, Search())
    assert [path.name for path in content.videos] == ["a.mp4", "b.asf", "c.DAV"]
    assert content.notes() == [
        "3 hidden names were passed over (they begin with . or @)",
        "3 symbolic links were passed over (to folders, or to nothing)",
        "4 files of other kinds were passed over: .txt (2), no suffix (1), .jpg (1)",
    ]


def test_two_batches_share_a_folder(make_clip: MakeClip, tmp_path: Path, restorer: Restorer) -> None:
    for name in ("a", "b", "c"):
        make_clip(f"in/{name}.mp4", count=2, height=16, width=16)
    folder, out = tmp_path / "in", tmp_path / "out"

    def begin() -> Any:
        return run_batch(plan_folder(folder, out), restorer, settings=RestoreSettings(), records=Records(out))

    first = begin()
    assert next(first).item.source.name == "a.mp4"
    second = [event.result for event in begin() if event.result]
    assert [(result.item.source.name, result.state, result.item.skip_reason) for result in second] == [
        ("b.mp4", "done", ""),
        ("c.mp4", "done", ""),
        ("a.mp4", "skipped", "taken by another run"),
    ]
    rest = [event.result for event in first if event.result]
    assert [(result.item.source.name, result.state) for result in rest] == [
        ("a.mp4", "done"),
        ("b.mp4", "skipped"),
        ("c.mp4", "skipped"),
    ]
    assert all(result.item.skip_reason.startswith("finished") for result in rest[1:])


def test_a_film_that_another_run_gave_up_is_made_at_the_end(
    make_clip: MakeClip, tmp_path: Path, restorer: Restorer
) -> None:
    for name in ("a", "b"):
        make_clip(f"in/{name}.mp4", count=2, height=16, width=16)
    other = RestoreJob(tmp_path / "in/a.mp4", tmp_path / "out/a.mp4", restorer).run()
    (tmp_path / "out").mkdir()
    next(other)
    found = {}
    for event in run_batch(
        plan_folder(tmp_path / "in", tmp_path / "out"),
        restorer,
        settings=RestoreSettings(),
        records=Records(tmp_path / "out"),
    ):
        if event.result is not None:
            found[event.item.source.name] = event.result.state
            other.close()
    assert found == {"b.mp4": "done", "a.mp4": "done"}


def test_folders_files_and_patterns_in_one_batch(make_clip: MakeClip, tmp_path: Path) -> None:
    for name in ("a/1.mp4", "a/deep/2.avi", "b/3.mkv", "b/4.mp4", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    inputs = [tmp_path / "a", tmp_path / "b/*.m*", tmp_path / "a/1.mp4"]
    items, notes = plan_inputs(inputs, tmp_path / "out", Search(suffix="_x"))
    targets = [str(item.target.relative_to(tmp_path / "out")) for item in items]
    assert (targets, notes) == (["1_x.mp4", "deep/2_x.mkv", "3_x.mkv", "4_x.mp4"], [])
    (tmp_path / "b/1.mp4").touch()
    with pytest.raises(OptionError, match=r"a/1\.mp4 and .*b/1\.mp4 would both become .*out/1\.mp4"):
        plan_inputs([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    with pytest.raises(OptionError, match="cannot hold a folder"):
        Search(suffix="x/")


def test_outputs_beside_their_sources_are_not_restored_again(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mkv", "a_sharp.mp4", "a_sharp.partial.mp4", "b_sharp.partial.mkv"):
        (tmp_path / name).touch()
    items = plan_folder(tmp_path, tmp_path, suffix="_sharp")
    assert [item.target.name for item in items] == ["a_sharp.mp4", "b_sharp.mkv"]


def test_a_file_may_have_settings_of_its_own(make_clip: MakeClip, tmp_path: Path, restorer: Restorer) -> None:
    items = [
        BatchItem(make_clip("a.mp4", count=1, height=16, width=16), tmp_path / "a.mkv"),
        BatchItem(
            make_clip("b.mp4", count=1, height=16, width=16), tmp_path / "b.mkv", settings=RestoreSettings(scale=1)
        ),
    ]
    for _ in range(2):
        events = run_batch(items, restorer, settings=RestoreSettings(), records=Records(tmp_path))
        results = [event.result for event in events if event.result]
        if results[0].report and results[1].report:
            assert [result.report and result.report.target_size for result in results] == [(64, 64), (16, 16)]
    assert [result.item.skip_reason for result in results] == ["finished already"] * 2


def test_a_folder_from_python(make_clip: MakeClip, tmp_path: Path, restorer: Restorer) -> None:
    make_clip("in/a.mp4", count=2, height=16, width=16)
    (tmp_path / "in/broken.mp4").touch()
    seen = []
    results = restore_folder(tmp_path / "in", tmp_path / "out", restorer, suffix="_4x", on_event=seen.append)
    assert [(result.item.target.name, result.state) for result in results] == [
        ("a_4x.mp4", "done"),
        ("broken_4x.mp4", "failed"),
    ]
    assert [event.progress.frames_done for event in seen if event.progress] == [0, 1, 2]
    with pytest.raises(OptionError, match="is not a folder; restore_video takes single files"):
        restore_folder(tmp_path / "in/a.mp4", tmp_path / "out", restorer)
