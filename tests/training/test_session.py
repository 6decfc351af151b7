"""Whole runs from settings."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fmanet_cli.errors import FileWriteError, OptionError, TrainingError
from fmanet_cli.model.fmanet import random_model
from fmanet_cli.training.photo_library import PhotoLibrary
from fmanet_cli.training.run_options import RunOptions
from fmanet_cli.training.session import Session, build_source, train
from fmanet_cli.video.read.images import read_image, write_image
from fmanet_cli.weights.checkpoint import CheckpointMetadata, load_model, save_checkpoint
from tests.training.conftest import TINY, tiny_recipe
from tests.training.test_video import moving_span


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = torch.Generator().manual_seed(1)
    for number in range(2):
        coarse = torch.rand(1, 3, 60, 60, generator=generator)
        image = torch.nn.functional.interpolate(coarse, size=(330, 330), mode="bicubic").clamp(0, 1)
        write_image(folder / f"{number}.png", image[0].permute(1, 2, 0).numpy())
    return folder


def session(photos: Path, folder: Path, **changes: object) -> Session:
    run_names = {"stages", "minutes", "save_every", "validate_every", "seed"}
    run = {name: changes.pop(name) for name in run_names & changes.keys()}
    settings = {
        "recipe": tiny_recipe(steps=3),
        "run": RunOptions(**{"folder": folder, "half_precision": False, "prefetched_batches": 0, **run}),
        "source_kind": "photos",
        "source_folder": photos,
        "device": "cpu",
        **changes,
    }
    return Session(**settings)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_weights_logs_and_images(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("fmanet_cli.training.session.VALIDATION_BATCHES", 1)
    out = tmp_path / "run"
    reports = list(train(session(photos, out, validation_folder=photos, validate_every=2, picture_every=2)))
    assert [(report.stage, report.step) for report in reports] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    steps = rows(out / "steps.csv")
    assert [row["stage"] for row in steps] == ["1"] * 3 + ["2"] * 3
    assert float(steps[-1]["total"]) == pytest.approx(reports[-1].figures["total"])
    assert steps[0]["restored"] == "" and float(steps[-1]["restored"]) > 0
    checked = rows(out / "validation.csv")
    assert [row["step"] for row in checked] == ["2", "3"]
    assert float(checked[0]["gain"]) == pytest.approx(float(checked[0]["psnr"]) - float(checked[0]["bicubic_psnr"]))
    assert (out / "validation.safetensors").stat().st_size < 1_100_000
    image = read_image(out / "step000002.png")
    assert image.shape == (2 * (32 + 4), 7 * (32 + 4), 3)
    assert float(np.std(image)) > 0.05
    assert load_model(out / "weights.safetensors").config == TINY


def test_a_second_run_in_the_same_folder_must_resume(photos, tmp_path):
    first = list(train(session(photos, tmp_path / "run", stages=(2,))))
    with pytest.raises(OptionError, match="already holds a run; resume it or give another folder"):
        list(train(session(photos, tmp_path / "run", stages=(2,))))
    longer = session(photos, tmp_path / "run", stages=(2,), resume=True, recipe=tiny_recipe(steps=5))
    assert [report.step for report in train(longer)] == [4, 5]
    assert len(rows(tmp_path / "run/steps.csv")) == len(first) + 2


def test_a_run_starts_from_given_weights(photos, tmp_path):
    path = tmp_path / "start.safetensors"
    save_checkpoint(path, random_model(TINY, seed=8), metadata=CheckpointMetadata(licence="MIT", source="test"))
    recipe = tiny_recipe(steps=1, learning_rate=1e-9)
    list(train(session(photos, tmp_path / "run", init=str(path), recipe=recipe, stages=(2,))))
    written, given = load_model(tmp_path / "run/weights.safetensors"), load_model(path)
    for mine, theirs in zip(written.parameters(), given.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-7, rtol=0)
    with pytest.raises(OptionError, match="random:lite is another network than recipe tiny trains"):
        list(train(session(photos, tmp_path / "other", init="random:lite")))


def test_a_favour_is_checked_before_anything_is_read(photos, tmp_path):
    for shares, kind, message in (
        ((("a*", 0.7), ("b*", 0.4)), "photos", "at most 1 together"),
        ((("a*", 0.0),), "photos", "must be above 0"),
        ((("a*", 0.1),), "video", "only photographs can be favoured"),
    ):
        with pytest.raises(OptionError, match=message):
            session(photos, tmp_path / "run", favoured=shares, source_kind=kind)


@pytest.mark.parametrize("scales", [(0.0, 1.0), (0.8, 0.5), (0.5, 1.5), (float("nan"), 1.0)])
def test_scales_of_photographs_are_a_range_up_to_full_size(photos, tmp_path, scales):
    with pytest.raises(OptionError, match="a range above 0 and up to 1, got"):
        session(photos, tmp_path / "run", photo_scales=scales)


def test_photographs_are_shown_at_the_scales_asked_for(photos, tmp_path, monkeypatch):
    seen, draw = set(), PhotoLibrary.draw

    def noting(self: PhotoLibrary, size: int, scales: tuple[float, float], *args, **options):
        seen.add(scales)
        return draw(self, size, scales, *args, **options)

    monkeypatch.setattr(PhotoLibrary, "draw", noting)
    build_source(session(photos, tmp_path / "run", photo_scales=(0.9, 1.0))).batch(0)
    assert seen == {(0.9, 1.0)}
    with pytest.raises(OptionError, match="only photographs are shown at other sizes"):
        session(photos, tmp_path / "run", photo_scales=(0.9, 1.0), source_kind="video")


def test_clips_are_shown_among_photographs(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("fmanet_cli.training.session.load_spans", lambda *_, **__: [moving_span()])
    mixed = session(photos, tmp_path / "run", video_folder=tmp_path, video_share=0.4)
    alone = session(photos, tmp_path / "run")
    clips = session(photos, tmp_path / "run", source_kind="video")
    shown, from_photos, from_clips = (build_source(one) for one in (mixed, alone, clips))
    kinds = []
    for index in range(20):
        batch = shown.batch(index).blurry
        of_photos, of_clips = (torch.equal(batch, source.batch(index).blurry) for source in (from_photos, from_clips))
        assert of_photos != of_clips
        kinds.append(of_clips)
    assert 2 < sum(kinds) < 14


def test_as_many_windows_show_text_as_asked_for(photos, tmp_path, monkeypatch):
    class Texts:
        def __init__(self, folder: Path) -> None:
            assert folder == tmp_path

    monkeypatch.setattr("fmanet_cli.training.session.TextPlanes", Texts)
    shares = [None, 0.4]
    sources = [build_source(session(photos, tmp_path / "run", fonts_folder=tmp_path, text_share=s)) for s in shares]
    assert [source.options.text_share for source in sources] == [0.12, 0.4]
    with pytest.raises(OptionError, match="a share of text needs fonts"):
        session(photos, tmp_path / "run", text_share=0.4)
    for share in (0.0, 1.1, float("nan")):
        with pytest.raises(OptionError, match="the share of text must be above 0 and up to 1"):
            session(photos, tmp_path / "run", fonts_folder=tmp_path, text_share=share)


def test_clips_go_with_photographs_only(photos, tmp_path):
    with pytest.raises(OptionError, match="clips are shown among photographs only"):
        session(photos, tmp_path / "run", source_kind="reds", video_folder=tmp_path)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(OptionError, match="share of clips must be above 0 and below 1"):
            session(photos, tmp_path / "run", video_folder=tmp_path, video_share=share)


def test_two_processes_train_as_one_with_the_whole_batch_would(photos, tmp_path):
    reports = list(train(session(photos, tmp_path / "run", processes=2, stages=(2,))))
    assert [report.step for report in reports] == [1, 2, 3]
    alone = list(train(session(photos, tmp_path / "alone", stages=(2,), recipe=tiny_recipe(steps=3, batch_windows=1))))
    assert alone[0].figures["total"] == pytest.approx(reports[0].figures["total"], rel=1e-5)
    assert alone[-1].figures["total"] != pytest.approx(reports[-1].figures["total"], rel=1e-5)


def test_tensorboard_is_written_or_refused(photos, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    list(train(session(photos, tmp_path / "run", tensorboard=True, stages=(2,))))
    assert list((tmp_path / "run/tensorboard").iterdir())
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match="TensorBoard is not installed: install fmanet-cli"):
        list(train(session(photos, tmp_path / "other", tensorboard=True)))


def test_contradictions_are_refused(photos, tmp_path):
    with pytest.raises(OptionError, match="the batch of 2 windows cannot be shared by 3 processes"):
        session(photos, tmp_path, processes=3)
    with pytest.raises(OptionError, match="a resumed run goes on with its own weights"):
        session(photos, tmp_path, resume=True, init="lite")


@pytest.mark.skipif(sys.platform != "linux", reason="the size of files is limited")
@pytest.mark.parametrize(
    ("limit", "save_every", "name"),
    [(100, 1000, r"steps\.csv"), (20_000, 1, r"weights\.safetensors"), (400_000, 1, r"state\.pt")],
)
def test_a_full_disk_ends_a_run_with_one_line(photos, tmp_path, limit, save_every, name):
    import resource

    out, (_, hard) = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    steps = train(session(photos, out, save_every=save_every))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(FileWriteError, match=rf"{name} cannot be written: .*File too large") as caught:
            list(steps)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert caught.value.exit_code == 7
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]


def test_training_starts_where_pyav_and_platformdirs_are_missing(tmp_path):
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("av", "platformdirs"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Blocked())
from pathlib import Path
import cv2, numpy as np
from fmanet_cli.dataset.imaging.mixture import uncoded_mixture
from fmanet_cli.training.session import Session, train
from fmanet_cli.training.run_options import RunOptions
from tests.training.conftest import tiny_recipe
folder = Path(sys.argv[1])
(folder / "photos").mkdir()
coarse = np.random.default_rng(0).integers(0, 255, (30, 30, 3), dtype=np.uint8)
cv2.imwrite(str(folder / "photos/a.png"), cv2.resize(coarse, (330, 330), interpolation=cv2.INTER_CUBIC))
run = RunOptions(folder=folder / "run", stages=(2,), half_precision=False, prefetched_batches=0)
session = Session(recipe=tiny_recipe(steps=1), run=run, source_kind="photos", source_folder=folder / "photos",
                  device="cpu", picture_every=1, mixture=uncoded_mixture())
print([report.step for report in train(session)])
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[2]), *sys.path))}
    run = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(run, check=False, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.stdout.strip() == "[1]", done.stderr
    assert (tmp_path / "run/weights.safetensors").exists()
    assert (tmp_path / "run/step000001.png").exists()
