"""Runs that end early, by their own fault or not, and the runs that go on where they ended."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import random
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import OutputExistsError, ResumeError, VerificationError, VideoWriteError
from fmanet_cli.model.fmanet import FMANet, random_model
from fmanet_cli.restore.job import RestoreJob
from fmanet_cli.restore.journal import agreeing, journal_folder, kept_frames
from fmanet_cli.restore.outcome import RestoreReport
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write import planning, segments
from fmanet_cli.video.write.codecs import EncoderOptions
from fmanet_cli.weights.checkpoint import CheckpointMetadata, save_checkpoint
from support.clips import make_clip, packet_payloads, packet_times
from support.folders import names_in
from support.interrupted_runs import SEGMENT_FRAMES, run_and_kill

FRAMES = 21


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Frames at uneven times, with sound."""
    return write_clip(tmp_path / "clip.mp4", FRAMES)


def write_clip(path: Path, count: int, *, height: int = 24, width: int = 32) -> Path:
    rng = random.Random(5)
    pts = [0]
    while len(pts) < count:
        pts.append(pts[-1] + rng.choice([300, 500, 1001]))
    make_clip(
        path,
        count=count,
        height=height,
        width=width,
        time_base=Fraction(1, 12000),
        pts=pts,
        last_duration=400,
        audio=["aac"],
    )
    return path


def settings(**changes: Any) -> RestoreSettings:
    return RestoreSettings(**{"segment_frames": SEGMENT_FRAMES, **changes})


def finish(source: Path, target: Path, restorer: Restorer, **changes: Any) -> RestoreReport:
    job = RestoreJob(source, target, restorer, settings=settings(**changes))
    for _ in job.run():
        pass
    assert job.report is not None
    return job.report


class CrashError(Exception):
    """What nobody expects."""


def interrupt(source: Path, target: Path, restorer: Restorer, *, after_frames: int, **changes: Any) -> None:
    """A run that fails; four frames may be on their way to the encoder then."""
    run = RestoreJob(source, target, restorer, settings=settings(**changes)).run()
    while next(run).frames_done < after_frames:
        pass
    with pytest.raises(CrashError):
        run.throw(CrashError)


def digests_of(path: Path) -> list[tuple[int, int, str]]:
    """Time, duration and digest of every decoded frame."""
    with VideoReader(path) as reader:
        return [(frame.pts, frame.duration, hashlib.sha256(frame.image.tobytes()).hexdigest()) for frame in reader]


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="needs processes to kill")
def test_killed_runs_end_as_an_unbroken_one(tmp_path: Path, tiny_model: FMANet) -> None:
    source, weights = write_clip(tmp_path / "clip.mp4", 60), tmp_path / "tiny.safetensors"
    save_checkpoint(weights, tiny_model, metadata=CheckpointMetadata(licence="MIT", source="random, for tests"))
    whole, target = tmp_path / "whole.mp4", tmp_path / "killed.mp4"
    unbroken = run_and_kill(source, whole, weights)
    assert (unbroken.exit_code, unbroken.frames_resumed, unbroken.frames_done[-1]) == (0, 0, 60)
    resumed_from = [0]
    for after_frames in (random.Random(3).randrange(12, 20), 30, 45, 60):
        killed = run_and_kill(source, target, weights, after_frames=after_frames)
        assert killed.exit_code == -9
        assert killed.frames_done[0] == resumed_from[-1]
        assert not target.exists()
        resumed_from.append(kept_frames(target))
    assert all(frames % SEGMENT_FRAMES == 0 for frames in resumed_from[:-1])
    assert resumed_from[1] >= SEGMENT_FRAMES
    assert resumed_from[4] > resumed_from[3] > resumed_from[2] > resumed_from[1]
    last = run_and_kill(source, target, weights)
    assert (last.exit_code, last.frames_resumed) == (0, resumed_from[-1])
    assert digests_of(target) == digests_of(whole)
    assert [time for time, _, _ in digests_of(target)] == [time for time, _, _ in digests_of(source)]
    assert packet_payloads(target, "audio") == packet_payloads(source, "audio")
    assert packet_times(target, "audio") == packet_times(whole, "audio")
    assert names_in(tmp_path) == ["clip.mp4", "killed.mp4", "tiny.safetensors", "whole.mp4"]


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1", "ffv1"])
def test_an_interrupted_run_goes_on(clip: Path, tmp_path: Path, restorer: Restorer, codec: str) -> None:
    whole, target = tmp_path / "whole.mkv", tmp_path / "sharp.mkv"
    encoder = EncoderOptions(codec=codec)
    finish(clip, whole, restorer, encoder=encoder)
    interrupt(clip, target, restorer, after_frames=20, encoder=encoder)
    assert kept_frames(target) == 16
    report = finish(clip, target, restorer, encoder=encoder)
    assert (report.frames, report.frames_resumed) == (FRAMES, 16)
    assert digests_of(target) == digests_of(whole)
    assert not journal_folder(target).exists()


def test_a_run_that_is_told_to_stop_keeps_every_frame(clip: Path, tmp_path: Path, restorer: Restorer) -> None:
    target = tmp_path / "sharp.mp4"
    for frames_done, after_frames in ((0, 11), (11, 13)):
        run = RestoreJob(clip, target, restorer, settings=settings()).run()
        assert next(run).frames_done == frames_done
        while next(run).frames_done < after_frames:
            pass
        run.close()
        assert kept_frames(target) == after_frames
    assert finish(clip, target, restorer).frames_resumed == 13
    assert [time for time, _, _ in digests_of(target)] == [time for time, _, _ in digests_of(clip)]


def test_a_slow_run_keeps_its_work_too(
    clip: Path, tmp_path: Path, restorer: Restorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 31))
    own_time = SimpleNamespace(monotonic=lambda: next(clock))
    monkeypatch.setattr("fmanet_cli.video.write.segmented.time", own_time)
    target = tmp_path / "sharp.mp4"
    interrupt(clip, target, restorer, after_frames=14)
    # A frame every 31 seconds: the segment of the first frame is old at the fourth after it.
    assert kept_frames(target) >= 4
    assert kept_frames(target) % 4 == 0
    monkeypatch.undo()
    finish(clip, target, restorer)
    assert [time for time, _, _ in digests_of(target)] == [time for time, _, _ in digests_of(clip)]


def test_frames_that_are_kept_are_not_computed_again(
    clip: Path, tmp_path: Path, restorer: Restorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "sharp.mp4"
    interrupt(clip, target, restorer, after_frames=14)
    calls = []
    window = restorer.runner.window
    monkeypatch.setattr(restorer.runner, "window", lambda states: calls.append(0) or window(states))
    job = RestoreJob(clip, target, restorer, settings=settings())
    assert [progress.frames_done for progress in job.run()] == list(range(8, FRAMES + 1))
    assert len(calls) == FRAMES - 8


def test_shots_are_restored_apart_after_a_break_too(clip: Path, tmp_path: Path, restorer: Restorer) -> None:
    cuts = tmp_path / "cuts.txt"
    cuts.write_text("7\n9\n")
    whole, target = tmp_path / "whole.mp4", tmp_path / "sharp.mp4"
    finish(clip, whole, restorer, scene_detect=str(cuts))
    interrupt(clip, target, restorer, after_frames=14, scene_detect=str(cuts))
    report = finish(clip, target, restorer, scene_detect=str(cuts))
    # Segments end where a shot does.
    assert (report.frames_resumed, report.shots) == (7, 3)
    assert digests_of(target) == digests_of(whole)
    interrupt(clip, target, restorer, after_frames=14, scene_detect=str(cuts), overwrite=True)
    cuts.write_text("7\n10\n")
    with pytest.raises(ResumeError, match=r"options\.scene_cuts_sha256 was \w+ and is \w+"):
        finish(clip, target, restorer, scene_detect=str(cuts), overwrite=True)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone", "table"])
def test_a_damaged_segment_is_made_again(clip: Path, tmp_path: Path, restorer: Restorer, damage: str) -> None:
    whole, target = tmp_path / "whole.mp4", tmp_path / "sharp.mp4"
    finish(clip, whole, restorer)
    interrupt(clip, target, restorer, after_frames=20)
    segment = journal_folder(target) / "000000008.segment"
    content = bytearray(segment.read_bytes())
    if damage == "truncated":
        segment.write_bytes(content[:-1])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        segment.write_bytes(content)
    elif damage == "gone":
        segment.unlink()
    else:
        table = segment.with_suffix(".json")
        table.write_text(table.read_text().replace("500", "501", 1))
    assert finish(clip, target, restorer).frames_resumed == 8
    assert digests_of(target) == digests_of(whole)


def test_a_film_that_needed_tiles_goes_on_in_tiles(
    clip: Path, tmp_path: Path, restorer: Restorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, window = tmp_path / "sharp.mp4", restorer.runner.window

    def window_short_of_memory(states: Any) -> Any:
        # Every whole frame: windows side by side may run out of memory at the same moment.
        if states[0].frame.shape[1:] == (34, 36):
            raise RuntimeError("std::bad_alloc")
        return window(states)

    clip = write_clip(tmp_path / "large.mp4", 12, height=34, width=36)
    monkeypatch.setattr(restorer.runner, "window", window_short_of_memory)
    interrupt(clip, target, restorer, after_frames=12)
    report = finish(clip, target, restorer)
    assert (report.frames_resumed, str(report.tiling)) == (8, "tiles of 32 pixels, 16 shared")


def test_another_run_than_the_interrupted_one_is_refused(clip: Path, tmp_path: Path, restorer: Restorer) -> None:
    target = tmp_path / "sharp.mp4"
    interrupt(clip, target, restorer, after_frames=14)
    with pytest.raises(ResumeError, match=r"sharp\.mp4 .* options\.encoder\.crf was None and is 20.*begin anew"):
        finish(clip, target, restorer, encoder=EncoderOptions(crf=20))
    other = Restorer(random_model(restorer.model.config, seed=4), device="cpu", precision="fp32")
    with pytest.raises(ResumeError, match=r"options\.strength was 1\.0 and is 0\.5"):
        finish(clip, target, restorer, strength=0.5)
    with pytest.raises(ResumeError, match=r"options\.source_look was plain and is camera"):
        finish(clip, target, restorer, source_look="camera")
    with pytest.raises(ResumeError, match=r"weights\.sha256 was \w+ and is \w+"):
        finish(clip, target, other)
    with pytest.raises(ResumeError, match=r"engine\.tiling\.mode was auto and is tiles"):
        finish(clip, target, Restorer(restorer.model, device="cpu", precision="fp32", tile=32))
    clip.touch()
    with pytest.raises(ResumeError, match=r"source\.changed_ns was \d+ and is \d+"):
        finish(clip, target, restorer)
    assert kept_frames(target) == 8
    report = finish(clip, target, restorer, resume=False)
    assert (report.frames, report.frames_resumed) == (FRAMES, 0)
    assert names_in(tmp_path) == ["clip.mp4", "sharp.mp4"]


def test_another_source_of_the_same_size_and_time_is_refused(clip: Path, tmp_path: Path, restorer: Restorer) -> None:
    before, times = clip.read_bytes(), clip.stat()
    interrupt(clip, tmp_path / "sharp.mp4", restorer, after_frames=14)
    # One bit of the pixels.
    middle = len(before) // 2
    clip.write_bytes(before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1 :])
    os.utime(clip, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ResumeError, match=r"source\.sample_sha256 was \w+ and is \w+"):
        finish(clip, tmp_path / "sharp.mp4", restorer)
    clip.write_bytes(before)
    os.utime(clip, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert finish(clip, tmp_path / "sharp.mp4", restorer).frames_resumed == 8


def test_a_run_that_would_be_written_otherwise_than_the_interrupted_one_is_refused(
    clip: Path, tmp_path: Path, restorer: Restorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(clip, tmp_path / "sharp.mp4", restorer, after_frames=14)
    # The same options, but another plan comes of them, as where an encoder has lost a pixel format.
    monkeypatch.setattr(planning, "choose_pixel_format", lambda *_, **__: "yuv444p")
    with pytest.raises(ResumeError, match=r"sharp\.mp4 .* output\.video\.pix_fmt was yuv420p and is yuv444p"):
        finish(clip, tmp_path / "sharp.mp4", restorer)


def test_a_second_run_on_one_output_is_refused(clip: Path, tmp_path: Path, restorer: Restorer) -> None:
    target = tmp_path / "sharp.mp4"
    run = RestoreJob(clip, target, restorer, settings=settings()).run()
    assert next(run).frames_done == 0
    for resume in (True, False):
        with pytest.raises(ResumeError, match=r"another run is writing .*sharp\.mp4"):
            finish(clip, target, restorer, resume=resume)
    for _ in run:
        pass
    assert len(digests_of(target)) == FRAMES


def test_a_full_disk_loses_nothing_that_is_closed(
    clip: Path, tmp_path: Path, restorer: Restorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "sharp.mp4"
    write = segments.write_durably

    def fail_later(path: Path, text: str) -> None:
        if path.name != "000000000.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, text)

    monkeypatch.setattr(segments, "write_durably", fail_later)
    with pytest.raises(VideoWriteError, match=r"sharp\.mp4 cannot be written: No space left on device"):
        finish(clip, target, restorer)
    assert not target.exists()
    monkeypatch.undo()
    assert finish(clip, target, restorer).frames_resumed == 8
    assert len(digests_of(target)) == FRAMES


def test_a_failure_while_joining_keeps_every_segment(
    clip: Path, tmp_path: Path, restorer: Restorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "sharp.mp4"
    monkeypatch.setattr("fmanet_cli.video.write.segmented._joined_packets", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        finish(clip, target, restorer)
    assert not target.exists()
    assert kept_frames(target) == FRAMES
    monkeypatch.undo()
    assert finish(clip, target, restorer).frames_resumed == FRAMES
    assert len(digests_of(target)) == FRAMES


def test_a_rejected_file_is_all_that_is_kept(
    clip: Path, tmp_path: Path, restorer: Restorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reject(*_: object, **__: object) -> None:
        raise ValueError("unlike its source")

    monkeypatch.setattr("fmanet_cli.restore.job.prove", reject)
    with pytest.raises(VerificationError, match=r"unlike its source; kept as .*sharp\.rejected\.mp4"):
        finish(clip, tmp_path / "sharp.mp4", restorer)
    assert names_in(tmp_path) == ["clip.mp4", "sharp.rejected.mp4"]
    assert len(digests_of(tmp_path / "sharp.rejected.mp4")) == FRAMES


def test_a_run_that_ends_before_its_first_segment_leaves_nothing(
    clip: Path, tmp_path: Path, restorer: Restorer
) -> None:
    interrupt(clip, tmp_path / "sharp.mp4", restorer, after_frames=7)
    assert names_in(tmp_path) == ["clip.mp4"]


def test_an_existing_output_is_refused_before_anything_is_written(
    clip: Path, tmp_path: Path, restorer: Restorer
) -> None:
    target = tmp_path / "sharp.mp4"
    target.write_bytes(b"precious")
    with pytest.raises(OutputExistsError, match=r"sharp\.mp4 exists"):
        finish(clip, target, restorer)
    assert names_in(tmp_path) == ["clip.mp4", "sharp.mp4"]


def test_image_sequences_are_written_without_segments(clip: Path, tmp_path: Path, restorer: Restorer) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    interrupt(clip, folder / "%03d.png", restorer, after_frames=20)
    assert names_in(folder) == []


def test_a_source_that_reads_otherwise_than_before_is_refused(clip: Path) -> None:
    with VideoReader(clip) as reader:
        frames = list(reader)
    seen = {number: frame.pts for number, frame in enumerate(frames[:5])}
    assert list(agreeing(frames, seen)) == frames
    with pytest.raises(ResumeError, match=r"4 frames are read, the interrupted run had 5"):
        list(agreeing(frames[:4], seen))
    with pytest.raises(ResumeError, match=rf"frame 2 has pts {seen[2]}, the interrupted run saw 7"):
        list(agreeing(frames, seen | {2: 7}))
