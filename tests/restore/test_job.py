"""A whole video through the network: frames, timestamps, sizes, reports and failures."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.engine.run import RestorationRun
from fmanet_cli.errors import OptionError, OutputExistsError, VerificationError, VideoReadError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.job import RestoreJob, restore_video
from fmanet_cli.restore.journal import kept_frames
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.restore.stages import WAITING_FOR_DECODER, WAITING_FOR_ENCODER
from fmanet_cli.shots.detector import ShotMarker
from fmanet_cli.verify.result import Verdict
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.codecs import EncoderOptions
from fmanet_cli.video.write.writer import VideoWriter
from support.plain_upscaling import PlainUpscaling

MakeClip = Callable[..., Path]


def timestamps(path: Path) -> list[float]:
    with VideoReader(path) as reader:
        return [frame.seconds for frame in reader]


def test_every_frame_and_timestamp_is_kept(make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet) -> None:
    source, target = make_clip(count=7), tmp_path / "sharp.mp4"
    report = restore_video(source, target, tiny_model, model_name="tiny")
    assert timestamps(target) == timestamps(source)
    assert (report.frames, report.source_size, report.target_size) == (7, (32, 24), (128, 96))
    assert (report.model, report.tiling.size, report.warnings) == ("tiny", 0, ())
    assert report.as_dict()["frames_per_second"] == pytest.approx(7 / report.seconds)
    with VideoReader(target) as reader:
        assert (reader.info.width, reader.info.height) == (128, 96)


@pytest.mark.parametrize("slow", [WAITING_FOR_DECODER, WAITING_FOR_ENCODER])
def test_the_report_says_which_stage_the_network_waits_for(
    make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    mark, write = ShotMarker.mark, VideoWriter.write

    def slow_marks(marker: ShotMarker, frames: Any) -> Any:
        for frame in mark(marker, frames):
            time.sleep(0.1)
            yield frame

    def slow_write(writer: VideoWriter, frame: Any) -> None:
        time.sleep(0.1)
        write(writer, frame)

    if slow == WAITING_FOR_DECODER:
        monkeypatch.setattr(ShotMarker, "mark", slow_marks)
    else:
        monkeypatch.setattr(VideoWriter, "write", slow_write)
    restorer = Restorer(tiny_model, device="cpu", precision="fp32", runner=PlainUpscaling())
    stages = restore_video(make_clip(count=8), tmp_path / "sharp.mp4", restorer).stage_seconds
    waits = {stages[stage]: stage for stage in (WAITING_FOR_DECODER, WAITING_FOR_ENCODER)}
    assert waits[max(waits)] == slow
    assert max(waits) > 0.2


def test_output_is_what_the_network_restores(make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet) -> None:
    source, target = make_clip(count=3), tmp_path / "frames" / "%03d.png"
    target.parent.mkdir()
    restorer = Restorer(tiny_model, device="cpu", precision="fp32")
    restore_video(source, target, restorer)
    with VideoReader(source) as reader:
        expected = [frame.image for frame in restorer.restore(list(reader))]
    with VideoReader(target) as reader:
        found = [frame.image for frame in reader]
    assert len(found) == 3
    for image, truth in zip(found, expected, strict=True):
        np.testing.assert_allclose(image, truth, atol=0.5 / 255 + 1e-4)


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({}, ["restore_planar"]),
        ({"encoder": EncoderOptions(codec="ffv1", pix_fmt="gbrp10le")}, ["restore"]),
        ({"scale": 2}, ["restore_planar"]),
    ],
    ids=["planes", "RGB samples", "resized"],
)
def test_frames_become_planes_on_the_device_where_the_encoder_takes_them(
    make_clip: MakeClip,
    tmp_path: Path,
    tiny_model: FMANet,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    calls: list[str],
) -> None:
    restorer, found = Restorer(tiny_model, device="cpu", precision="fp32"), []
    for name in ("restore", "restore_planar"):
        method = getattr(RestorationRun, name)

        def noted(*args: Any, _name: str = name, _method: Any = method, **keywords: Any) -> Any:
            found.append(_name)
            return _method(*args, **keywords)

        monkeypatch.setattr(RestorationRun, name, noted)
    restore_video(make_clip(count=2), tmp_path / "out.mkv", restorer, settings=RestoreSettings(**options))
    assert found == calls


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        (RestoreSettings(scale=1), (32, 24)),
        (RestoreSettings(scale=2), (64, 48)),
        (RestoreSettings(size="50x40"), (50, 40)),
        (RestoreSettings(size="480p"), (640, 480)),
    ],
)
def test_asked_sizes(
    make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet, settings: RestoreSettings, size: tuple[int, int]
) -> None:
    report = restore_video(make_clip(count=2), tmp_path / "out.mp4", tiny_model, settings=settings)
    assert report.target_size == size
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert (reader.info.width, reader.info.height) == size


def test_shots_are_restored_apart(make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet) -> None:
    source, cuts = make_clip(count=5), tmp_path / "cuts.txt"
    cuts.write_text("2\n7\n")
    restorer = Restorer(tiny_model, device="cpu", precision="fp32")
    target = tmp_path / "frames" / "%03d.png"
    target.parent.mkdir()
    report = restore_video(source, target, restorer, settings=RestoreSettings(scene_detect=str(cuts)))
    assert report.shots == 2
    assert report.warnings == (f"1 of the cuts in {cuts} lie beyond the 5 frames of the video",)
    with VideoReader(source) as reader:
        frames = list(reader)
    expected = [frame.image for half in (frames[:2], frames[2:]) for frame in restorer.restore(half)]
    with VideoReader(target) as reader:
        for frame, truth in zip(reader, expected, strict=True):
            np.testing.assert_allclose(frame.image, truth, atol=0.5 / 255 + 1e-4)


@pytest.mark.parametrize("network", ["good", "green"])
def test_what_came_through_a_pipe_is_held_against_the_output_too(
    make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    source, target = make_clip(count=3), tmp_path / "sharp.mp4"
    restored = RestorationRun.restore_planar
    green = (np.full((96, 128), 150, np.uint8), np.full((48, 64), 44, np.uint8), np.full((48, 64), 21, np.uint8))

    def broken(run: RestorationRun, *args: Any, **options: Any) -> Any:
        for frame in restored(run, *args, **options):
            yield replace(frame, planes=green)

    if network == "green":
        monkeypatch.setattr(RestorationRun, "restore_planar", broken)
    with source.open("rb") as piped:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=piped))
        job = RestoreJob("-", target, Restorer(tiny_model, device="cpu", precision="fp32"))
        with pytest.raises(VerificationError) if network == "green" else contextlib.nullcontext():
            list(job.run())
    assert job.verification is not None
    (row,) = [row for row in job.verification.rows if row.what == "pictures"]
    assert row.verdict is (Verdict.DIFFERS if network == "green" else Verdict.SAME)
    assert target.exists() == (network == "good")


@pytest.mark.parametrize(("scene_detect", "shots"), [("auto", 1), ("off", None)])
def test_the_report_counts_shots(
    make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet, scene_detect: str, shots: int | None
) -> None:
    settings = RestoreSettings(scene_detect=scene_detect)
    assert restore_video(make_clip(), tmp_path / "out.mp4", tiny_model, settings=settings).shots == shots


def test_progress_counts_every_frame(make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet) -> None:
    job = RestoreJob(make_clip(count=4), tmp_path / "out.mp4", Restorer(tiny_model, device="cpu"))
    assert [step.frames_done for step in job.run()] == [0, 1, 2, 3, 4]


def test_an_existing_target_is_left_alone(make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"precious")
    source = make_clip()
    with pytest.raises(OutputExistsError, match=r"out\.mp4 exists"):
        restore_video(source, target, tiny_model)
    assert target.read_bytes() == b"precious"
    restore_video(source, target, tiny_model, settings=RestoreSettings(overwrite=True))
    assert len(timestamps(target)) == 5


def test_a_run_that_fails_leaves_nothing_behind(
    make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = Restorer(tiny_model, device="cpu")
    monkeypatch.setattr(restorer.runner, "window", lambda _states: 1 / 0)
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(ZeroDivisionError):
        restore_video(make_clip(), folder / "out.mp4", restorer)
    assert list(folder.iterdir()) == []


def test_stopping_early_leaves_what_is_done_and_nothing_else(
    make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    run = RestoreJob(make_clip(count=6), folder / "out.mp4", Restorer(tiny_model, device="cpu")).run()
    next(run), next(run), next(run)
    run.close()
    assert [path.name for path in folder.iterdir()] == [".out.mp4.fmanet"]
    assert kept_frames(folder / "out.mp4") == 2


def test_text_is_no_video(tmp_path: Path, tiny_model: FMANet) -> None:
    source = tmp_path / "notes.mp4"
    source.write_text("not a video")
    with pytest.raises(VideoReadError, match=r"notes\.mp4"):
        restore_video(source, tmp_path / "out.mp4", tiny_model)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"scale": 3}, "scale must be 4, 2 or 1, got 3"),
        ({"size": "large"}, "size must be WIDTHxHEIGHT .* got 'large'"),
        ({"strength": 1.5}, "strength must be from 0 .* got 1.5"),
        ({"source_look": "film"}, "plain or camera, got 'film'"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        RestoreSettings(**options)


def test_a_frame_too_large_to_be_read_back_is_refused_before_the_work(
    make_clip: MakeClip, tmp_path: Path, tiny_model: FMANet
) -> None:
    settings = RestoreSettings(size="15360x8640")
    with pytest.raises(OptionError, match="the output would be 15360x8640, more than 67108864 pixels"):
        restore_video(make_clip(count=1), tmp_path / "out.mp4", tiny_model, settings=settings)
    assert not (tmp_path / "out.mp4").exists()
