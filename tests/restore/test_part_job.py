"""Films restored part by part, by commands that know nothing of each other, and joined."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import FmanetError, OptionError, OutputBusyError, ResumeError, VideoReadError
from fmanet_cli.model.fmanet import random_model
from fmanet_cli.restore.job import RestoreJob
from fmanet_cli.restore.journal import journal_folder
from fmanet_cli.restore.part_job import JoinJob, PartJob, PartReport
from fmanet_cli.restore.parts import Part
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.video.write.codecs import EncoderOptions
from support.fuzz_runs import plain_restorer
from support.odd_clips import captions_of, numbered_captions, record_with_sei
from support.shared_film import FRAMES, assert_equal

PARTS = 3


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "sharp.mp4"


def settings(**changes: Any) -> RestoreSettings:
    return RestoreSettings(**{"segment_frames": 8, **changes})


def part_job(clip: Path, target: Path, restorer: Restorer, part: str, **changes: Any) -> PartJob:
    return PartJob(clip, target, restorer, part=Part.parse(part), settings=settings(**changes), model_name="tiny")


def finish(job: RestoreJob) -> None:
    for _ in job.run():
        pass


def restore_part(clip: Path, target: Path, restorer: Restorer, part: str, **changes: Any) -> PartReport:
    job = part_job(clip, target, restorer, part, **changes)
    finish(job)
    assert job.part_report is not None
    return job.part_report


def test_joined_parts_are_the_file_of_one_run(clip: Path, tmp_path: Path, target: Path, restorer: Restorer) -> None:
    cuts = tmp_path / "cuts.txt"
    cuts.write_text("6\n20\n")
    whole = tmp_path / "whole.mp4"
    finish(RestoreJob(clip, whole, restorer, settings=settings(scene_detect=str(cuts))))
    # In any order, with pauses, and one of them twice.
    at_work = part_job(clip, target, restorer, "2/3", scene_detect=str(cuts)).run()
    while next(at_work).frames_done < 3:
        pass
    third = restore_part(clip, target, restorer, "3/3", scene_detect=str(cuts))
    for _ in at_work:
        pass
    again = restore_part(clip, target, restorer, "3/3", scene_detect=str(cuts))
    restore_part(clip, target, restorer, "1/3", scene_detect=str(cuts))
    assert (third.frames_resumed, again.frames_resumed) == (0, third.frames)
    assert not target.exists()
    cuts.unlink()
    job = JoinJob(target)
    finish(job)
    assert job.report is not None
    assert (job.report.frames, job.report.shots, job.report.model) == (FRAMES, 3, "tiny")
    assert job.report.verification is not None
    assert_equal(target, whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "sharp.mp4", "whole.mp4"]


def test_joined_parts_keep_closed_captions(tmp_path: Path, target: Path) -> None:
    record_with_sei(tmp_path / "a.mp4", numbered_captions, count=12)
    for part in ("1/2", "2/2"):
        restore_part(tmp_path / "a.mp4", target, plain_restorer(), part, segment_frames=5)
    finish(JoinJob(target))
    assert captions_of(target) == [numbered_captions(number)[-4:-1] for number in range(12)]


def test_a_run_of_the_whole_film_takes_what_parts_have_left(
    clip: Path, tmp_path: Path, target: Path, restorer: Restorer
) -> None:
    finish(RestoreJob(clip, tmp_path / "whole.mp4", restorer, settings=settings()))
    frames = restore_part(clip, target, restorer, "2/3").frames
    job = RestoreJob(clip, target, restorer, settings=settings())
    finish(job)
    assert job.report is not None
    assert job.report.frames_resumed == frames
    assert_equal(target, tmp_path / "whole.mp4")


def test_parts_of_other_options_or_weights_are_refused(clip: Path, target: Path, restorer: Restorer) -> None:
    restore_part(clip, target, restorer, "1/3")
    with pytest.raises(ResumeError, match=r"part 2/3 .* another run .*options\.encoder\.crf was None and is 20\.0"):
        restore_part(clip, target, restorer, "2/3", encoder=EncoderOptions(crf=20.0))
    others = Restorer(random_model(restorer.model.config, seed=9), device="cpu", precision="fp32")
    with pytest.raises(ResumeError, match=r"another run .*weights\.sha256 was"):
        restore_part(clip, target, others, "2/3")
    with pytest.raises(ResumeError, match=r"holds parts of 3, got 2/4"):
        restore_part(clip, target, restorer, "2/4")


def test_a_part_that_only_began_counts_too(clip: Path, target: Path, restorer: Restorer) -> None:
    at_work = part_job(clip, target, restorer, "1/3").run()
    next(at_work)
    with pytest.raises(ResumeError, match=r"options\.scale was 4 and is 2"):
        restore_part(clip, target, restorer, "2/3", scale=2)
    with pytest.raises(OutputBusyError, match=r"part 1/3 of .* is at work already"):
        restore_part(clip, target, restorer, "1/3")
    with pytest.raises(OutputBusyError, match=r"part-00001-of-00003 of .*sharp\.mp4 is at work"):
        finish(RestoreJob(clip, target, restorer, settings=settings()))
    at_work.close()
    assert not journal_folder(target).exists()


def test_while_the_whole_film_is_restored_no_part_begins(
    clip: Path, target: Path, restorer: Restorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmanet_cli.restore.parts.LOCK_SECONDS", 0.01)
    at_work = RestoreJob(clip, target, restorer, settings=settings()).run()
    next(at_work)
    with pytest.raises(OutputBusyError, match="another run is writing"):
        restore_part(clip, target, restorer, "1/3")
    at_work.close()


def test_join_names_what_is_missing(clip: Path, tmp_path: Path, target: Path, restorer: Restorer) -> None:
    with pytest.raises(ResumeError, match=r"no part of sharp\.mp4 is finished"):
        JoinJob(target)
    restore_part(clip, target, restorer, "2/3")
    with pytest.raises(ResumeError, match=r"parts 1, 3 of 3 of sharp\.mp4 missing") as caught:
        JoinJob(target)
    assert caught.value.remedy == "part=1/3"
    restore_part(clip, target, restorer, "1/3")
    # What another machine has made under other options and somebody has copied here.
    elsewhere = tmp_path / "elsewhere" / "sharp.mp4"
    elsewhere.parent.mkdir()
    restore_part(clip, elsewhere, restorer, "3/3", scale=2)
    folder = journal_folder(target)
    shutil.copy(journal_folder(elsewhere) / "part-00003-of-00003.json", folder)
    with pytest.raises(ResumeError, match=r"part 3/3 of sharp\.mp4 .* than part 2/3: options\.scale was 4 and is 2"):
        JoinJob(target)
    (folder / "part-00003-of-00003.json").unlink()
    restore_part(clip, target, restorer, "3/3")
    damaged = folder / "000000008.segment"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(ResumeError, match=r"part 2/3 lacks frames 8 to 15, missing or damaged .* run that part again"):
        JoinJob(target)
    assert restore_part(clip, target, restorer, "2/3").frames_resumed == 8
    moved = clip.rename(tmp_path / "moved.mp4")
    with pytest.raises(VideoReadError, match=r"clip\.mp4 cannot be read") as caught:
        JoinJob(target)
    assert caught.value.remedy == "source"
    finish(JoinJob(target, source=moved))
    assert target.exists()


def test_more_parts_than_spans(clip: Path, target: Path, restorer: Restorer) -> None:
    parts = [restore_part(clip, target, restorer, f"{number}/3", segment_frames=40) for number in (1, 2, 3)]
    assert [part.frames for part in parts] == [40, 5, 0]
    finish(JoinJob(target))
    assert target.exists()


def test_what_cannot_be_made_in_parts_is_refused(clip: Path, tmp_path: Path, restorer: Restorer) -> None:
    for words in ("0/3", "4/3", "1/0", "x", "1/3/2", "", "1/9999999"):
        with pytest.raises(OptionError, match="a part is K/N"):
            Part.parse(words)
    for target, changes in {
        "-": {},
        "%03d.png": {},
        "a.mp4": {"segment_frames": 0},
        "b.mp4": {"resume": False},
    }.items():
        with pytest.raises(OptionError, match="a part "):
            part_job(clip, tmp_path / target if target != "-" else Path(target), restorer, "1/3", **changes)
    with pytest.raises(FmanetError, match="in one piece, which cannot be shared"):
        restore_part(clip, tmp_path / "raw.y4m", restorer, "1/3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4"]


def test_a_lock_that_a_dead_part_has_left_stops_nobody(clip: Path, target: Path, restorer: Restorer) -> None:
    restore_part(clip, target, restorer, "1/3")
    lock = FileLock(journal_folder(target) / "part-00002-of-00003.lock")
    with lock:
        pass
    assert restore_part(clip, target, restorer, "2/3").frames == 16
