"""A source that does not stay what it was is refused, and the pieces made of it are kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import fmanet_cli.restore.job as job_module
from fmanet_cli.errors import VideoReadError
from fmanet_cli.restore.job import RestoreJob
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.video.write.codecs import EncoderOptions
from support.fuzz_runs import plain_restorer
from support.odd_clips import record

SETTINGS = RestoreSettings(encoder=EncoderOptions(preset="ultrafast"), segment_frames=4)


def other_file(path: Path) -> None:
    """As an editor saves: another file gets the name."""
    record(path.with_name("other.mp4"), sound="aac", sound_seconds=0.2)
    path.with_name("other.mp4").replace(path)


def shorter(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1000)


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(100))


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "other": (other_file, r"a\.mp4 was changed during the run: it had \d+ bytes and has \d+"),
    "shorter": (shorter, "was changed during the run: it had"),
    "longer": (longer, "was changed during the run: it had"),
    "touched": (lambda path: os.utime(path, ns=(1, 1)), "was changed during the run: it was written to"),
    "removed": (Path.unlink, "was removed during the run"),
}


@pytest.mark.parametrize("when", ["run", "check"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_source_that_changes_during_the_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, when: str
) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    record(source, sound="aac", sound_seconds=0.4)
    act, message = CHANGES[change]
    if when == "check":
        prove = job_module.prove

        def changing(*args: object, **options: object) -> object:
            found = prove(*args, **options)
            act(source)
            return found

        monkeypatch.setattr(job_module, "prove", changing)
    job = RestoreJob(source, target, plain_restorer(), settings=SETTINGS)
    with pytest.raises(VideoReadError, match=message):
        for progress in job.run():
            if when == "run" and progress.frames_done == 9:
                act(source)
    assert not target.exists()
    assert len(list((tmp_path / ".b.mp4.fmanet").glob("*.segment"))) == (3 if when == "check" else 2)


def test_images_that_change_during_the_run_are_refused(tmp_path: Path) -> None:
    from fmanet_cli.video.read.images import write_image
    from support.moving_frames import make_frames

    for number, frame in enumerate(make_frames(5, 24, 32)):
        write_image(tmp_path / f"{number:03d}.png", frame.image)
    job = RestoreJob(tmp_path / "%03d.png", tmp_path / "b.mp4", plain_restorer(), settings=SETTINGS)
    with pytest.raises(VideoReadError, match=r"002\.png was changed during the run: it was written to"):
        for progress in job.run():
            if progress.frames_done == 4:
                os.utime(tmp_path / "002.png", ns=(1, 1))
