"""One run at a time on an output, whatever it is; nothing of a run is taken for anything else."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import OutputBusyError, OutputExistsError, VideoWriteError
from fmanet_cli.restore.job import RestoreJob
from fmanet_cli.restore.journal import journal_folder, kept_frames, remove_leftover
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.video.write.segments import SegmentFolder, count_frames, remove_folder
from support.folders import names_in

FRAMES = 6


@pytest.fixture
def clip(make_clip, tmp_path: Path) -> Path:
    return make_clip("clip.mp4", count=FRAMES, height=16, width=16)


def run(source: Path, target: Path, restorer: Restorer, **choices: Any) -> Any:
    return RestoreJob(source, target, restorer, settings=RestoreSettings(**choices)).run()


@pytest.mark.parametrize(
    ("first", "second", "choices"),
    [
        ("out.mp4", "out.mp4", {}),
        ("out.mp4", "out.mp4", {"segment_frames": 0}),
        ("out.y4m", "out.y4m", {}),
        ("%03d.png", "%03d.png", {}),
        ("%03d.png", "%05d.png", {}),
        ("frames/%03d.png", "frames/%d.png", {}),
    ],
)
def test_a_second_run_is_refused(
    clip: Path, tmp_path: Path, restorer: Restorer, first: str, second: str, choices: dict[str, Any]
) -> None:
    (tmp_path / "out").mkdir()
    at_work = run(clip, tmp_path / "out" / first, restorer, **choices)
    next(at_work)
    for others in (choices, {"segment_frames": 0}, {"overwrite": True}):
        with pytest.raises(OutputBusyError, match="another run is writing"):
            next(run(clip, tmp_path / "out" / second, restorer, **others))
    for _ in at_work:
        pass
    left = names_in(tmp_path / "out" / "frames") if "/" in first else names_in(tmp_path / "out")
    assert len(left) == (FRAMES if "png" in first else 1)


@pytest.mark.parametrize("target", ["out.mp4", "out.y4m", "%03d.png", "frames/%03d.png"])
def test_a_run_without_pieces_that_is_stopped_leaves_nothing(
    clip: Path, tmp_path: Path, restorer: Restorer, target: str
) -> None:
    (tmp_path / "out").mkdir()
    at_work = run(clip, tmp_path / "out" / target, restorer, segment_frames=0)
    while next(at_work).frames_done < FRAMES - 1:
        pass
    with pytest.raises(KeyboardInterrupt):
        at_work.throw(KeyboardInterrupt)
    assert names_in(tmp_path / "out") == []


def test_a_leftover_beside_a_finished_output_goes(clip: Path, tmp_path: Path, restorer: Restorer) -> None:
    target = tmp_path / "out.mp4"
    for _ in run(clip, target, restorer):
        pass
    folder = journal_folder(target)
    folder.mkdir()
    facts = target.stat()
    (folder / "whole.json").write_text(json.dumps([facts.st_ino, facts.st_size]))
    (folder / "journal.json").touch()
    with pytest.raises(OutputExistsError):
        next(run(clip, target, restorer))
    assert names_in(tmp_path) == ["clip.mp4", "out.mp4"]


def test_pieces_for_an_output_that_shall_be_replaced_stay(clip: Path, tmp_path: Path, restorer: Restorer) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"older")
    at_work = run(clip, target, restorer, overwrite=True, segment_frames=2)
    while next(at_work).frames_done < FRAMES:
        pass
    at_work.close()
    frames = kept_frames(target)
    assert frames
    remove_leftover(target)
    with pytest.raises(OutputExistsError):
        next(run(clip, target, restorer))
    assert kept_frames(target) == frames


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_a_journal_that_is_a_link_is_refused(clip: Path, tmp_path: Path, restorer: Restorer) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    for name in ("2024.json", "000000008.segment", "a.part", "000000000.json"):
        (precious / name).touch()
    before = names_in(precious)
    journal_folder(tmp_path / "out.mp4").symlink_to(precious)
    with pytest.raises(VideoWriteError, match=r"\.out\.mp4\.fmanet is a symbolic link"):
        next(run(clip, tmp_path / "out.mp4", restorer))
    assert names_in(precious) == before


def test_foreign_files_in_a_journal_stay(clip: Path, tmp_path: Path, restorer: Restorer) -> None:
    folder = journal_folder(tmp_path / "out.mp4")
    folder.mkdir()
    for name in ("2024.json", "notes.part", "holiday.segment"):
        (folder / name).touch()
    for _ in run(clip, tmp_path / "out.mp4", restorer):
        pass
    assert names_in(folder) == ["2024.json", "holiday.segment", "notes.part"]
    remove_folder(folder)
    assert names_in(folder) == ["2024.json", "holiday.segment", "notes.part"]


TABLE: dict[str, Any] = {
    "pts": [0, 1],
    "durations": [1, 1],
    "order": [0, 1],
    "size_bytes": 0,
    "sha256": hashlib.sha256(b"").hexdigest(),
}


@pytest.mark.parametrize(
    "table",
    [
        TABLE | {"pts": [], "durations": [], "order": []},
        TABLE | {"pts": [1, 0]},
        TABLE | {"pts": ["0", "1"]},
        TABLE | {"pts": 3},
        TABLE | {"pts": None},
        TABLE | {"durations": [1]},
        TABLE | {"order": [0, 0]},
        TABLE | {"order": [0, 5]},
        TABLE | {"size_bytes": "0"},
        {key: value for key, value in TABLE.items() if key != "pts"},
        [TABLE],
        "text",
        7,
        None,
    ],
)
def test_a_forged_table_is_damaged(tmp_path: Path, table: Any) -> None:
    write_table(tmp_path, json.dumps(table))
    assert count_frames(tmp_path) == 0
    assert SegmentFolder(tmp_path, frames=2).segments == []


def test_a_table_that_is_too_deep_is_damaged(tmp_path: Path) -> None:
    write_table(tmp_path, "[" * 100_000)
    assert count_frames(tmp_path) == 0


def write_table(folder: Path, text: str) -> None:
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / "000000000.json").write_text(f"{digest}\n{text}\n")
    (folder / "000000000.segment").touch()


@pytest.mark.parametrize("run_part", ["[]", '"text"', "3", "null", "[" * 100_000])
def test_a_forged_journal_is_damaged(clip: Path, tmp_path: Path, restorer: Restorer, run_part: str) -> None:
    target = tmp_path / "out.mp4"
    at_work = run(clip, target, restorer, segment_frames=2)
    while next(at_work).frames_done < FRAMES:
        pass
    at_work.close()
    assert kept_frames(target)
    (journal_folder(target) / "journal.json").write_text(f'{{"version": 1, "run": {run_part}}}')
    done = [progress.frames_done for progress in run(clip, target, restorer, segment_frames=2)]
    assert (done[0], done[-1]) == (0, FRAMES)
    assert names_in(tmp_path) == ["clip.mp4", "out.mp4"]


def test_where_nothing_can_be_locked_that_is_said(
    clip: Path, tmp_path: Path, restorer: Restorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(VideoWriteError, match="cannot be locked or written: Permission denied"):
        next(run(clip, tmp_path / "out.mp4", restorer))


@pytest.mark.parametrize("target", ["/proc/x.mp4", "gone/x.mp4"])
def test_where_nothing_can_be_made_that_is_said(
    clip: Path, tmp_path: Path, restorer: Restorer, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VideoWriteError):
        next(run(clip, Path(target), restorer))
