"""Files and sequences under temporary names, and what happens to names that appear meanwhile."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from fmanet_cli.errors import OutputExistsError
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.partial_files import PartialFile, PartialSequence
from support.clips import make_clip
from support.tampering import enlarged_copy


def begun(pattern: Path, count: int, *, overwrite: bool = False) -> PartialSequence:
    sequence = PartialSequence(pattern, overwrite=overwrite)
    sequence.begin()
    for number in range(1, count + 1):
        (sequence.folder / (pattern.name % number)).write_text("new")
    return sequence


@pytest.mark.parametrize("name", ["Movie: part 1.mp4", "12:30.mkv", "data:x.nut", "a:b.y4m", "c:%03d.png"])
def test_a_colon_in_a_relative_name_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    make_clip(tmp_path / "a.mp4", count=3)
    (tmp_path / "out: x").mkdir()
    monkeypatch.chdir(tmp_path)
    for folder in (Path(), Path("out: x")):
        enlarged_copy(tmp_path / "a.mp4", folder / name)
        with VideoReader(folder / name) as reader:
            assert len(list(reader)) == 3


def test_images_that_appear_during_the_run_are_neither_replaced_nor_deleted(tmp_path: Path) -> None:
    sequence = begun(tmp_path / "q%03d.png", 2)
    for name in ("q001.png", "q500.png"):
        (tmp_path / name).write_text("foreign")
    with pytest.raises(OutputExistsError, match=r"q001\.png appeared during the run; the new images are in .*rejected"):
        sequence.commit()
    sequence.discard()
    assert {path.name for path in tmp_path.iterdir()} == {"q001.png", "q500.png", "q.rejected"}
    assert (tmp_path / "q001.png").read_text() == (tmp_path / "q500.png").read_text() == "foreign"
    assert len(list((tmp_path / "q.rejected").iterdir())) == 2


def test_only_numbers_that_were_there_at_the_start_are_removed(tmp_path: Path) -> None:
    for name in ("q001.png", "q002.png", "q003.png"):
        (tmp_path / name).write_text("old")
    sequence = begun(tmp_path / "q%03d.png", 2, overwrite=True)
    (tmp_path / "q500.png").write_text("foreign")
    sequence.commit()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "q001.png": "new",
        "q002.png": "new",
        "q500.png": "foreign",
    }


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_a_sequence_whose_run_was_killed_while_it_named_its_images_is_whole_at_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    for name in ("q001.png", "q009.png", "other1.png"):
        (tmp_path / name).write_text("old")
    sequence, replace, calls = begun(tmp_path / "q%03d.png", 3, overwrite=True), Path.replace, []

    def killed(self: Path, target: Path) -> Path:
        if self.suffix == ".png":
            if len(calls) == moved:
                raise SystemExit
            calls.append(target)
        return replace(self, target)

    with monkeypatch.context() as patch, contextlib.suppress(SystemExit):
        patch.setattr(Path, "replace", killed)
        sequence.commit()
    PartialSequence(tmp_path / "other%d.png", overwrite=True)
    with pytest.raises(OutputExistsError, match=r"q001\.png exists"):
        PartialSequence(tmp_path / "q%03d.png", overwrite=False)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "other1.png": "old",
        **{f"q{number:03d}.png": "new" for number in (1, 2, 3)},
    }


def test_runs_with_one_process_number_have_folders_of_their_own(tmp_path: Path) -> None:
    """Process 1 of two containers on one volume, or of one container after another was killed."""
    (tmp_path / f".frames.{os.getpid()}.part").mkdir()
    first, second = begun(tmp_path / "a%d.png", 2), begun(tmp_path / "b%d.png", 3)
    second.discard()
    first.commit()
    assert {path.name for path in tmp_path.glob("*.png")} == {"a1.png", "a2.png"}
    files = [PartialFile(tmp_path / "x.mp4", overwrite=False) for _ in range(2)]
    assert files[0].path != files[1].path


def test_a_file_that_appears_during_the_run_stays_and_so_do_the_frames(tmp_path: Path) -> None:
    partial = PartialFile(tmp_path / "x.mp4", overwrite=False)
    partial.path.write_text("new")
    (tmp_path / "x.mp4").write_text("foreign")
    with pytest.raises(OutputExistsError, match=r"x\.mp4 appeared during the run; the new file is .*x\.rejected\.mp4"):
        partial.commit()
    assert (tmp_path / "x.mp4").read_text() == "foreign"
    assert (tmp_path / "x.rejected.mp4").read_text() == "new"
