"""`fmanet train` from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner, Result

from fmanet_cli.cli.main import main
from fmanet_cli.training.step_report import StepReport
from fmanet_cli.video.read.images import write_image
from fmanet_cli.weights.checkpoint import read_header


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    coarse = torch.rand(1, 3, 60, 60, generator=torch.Generator().manual_seed(1))
    image = torch.nn.functional.interpolate(coarse, size=(200, 200), mode="bicubic").clamp(0, 1)
    write_image(folder / "a.png", image[0].permute(1, 2, 0).numpy())
    return folder


def test_two_steps_of_lite_from_its_embedded_weights(photos, tmp_path):
    out = tmp_path / "run"
    result = run(
        *("--photos", photos, "-o", out, "--init", "lite", "--stage", "2", "--steps", 2, "--windows", 1),
        *("--window-size", 16, "--learning-rate", 1e-4, "--device", "cpu", "--precision", "fp32", "-q"),
    )
    assert result.exit_code == 0, result.output
    assert "weights in" in result.output
    assert "recipe lite, stage 2, 2 steps, seed 0" in read_header(out / "weights.safetensors").metadata.training


def test_the_first_line_comes_before_the_first_step(photos, tmp_path, monkeypatch):
    def train(_: object, **_further: object) -> Iterator[StepReport]:
        click.echo("the first step", err=True)
        return iter(())

    monkeypatch.setattr("fmanet_cli.training.session.train", train)
    sources = ("--photos", photos, "-o", tmp_path / "run", "--device", "cpu")
    lines = run(*sources, "--steps", 7, "--stage", 2, "--windows", 3, "--window-size", 16).stderr.splitlines()
    assert lines[:2] == [
        f"training lite: stage 2 of 7 steps, 3 windows of 16x16 pixels a step; reading {photos} first",
        "the first step",
    ]
    assert run(*sources, "-q").stderr.splitlines()[0] == "the first step"


def test_no_photographs_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("--photos", tmp_path / "empty", "-o", tmp_path / "run", "--device", "cpu")
    assert result.exit_code == 8
    errors = [line for line in result.output.splitlines() if not line.startswith("training lite: ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: no photographs in ")


def test_sources_that_do_not_go_together_are_refused(photos, tmp_path):
    for sources in ((), ("--photos", photos, "--reds", photos), ("--videos", photos, "--reds", photos)):
        result = run(*sources, "-o", tmp_path / "run")
        assert result.exit_code == 2
        assert "give one of --photos, --videos and --reds, or --photos and --videos" in result.output


def test_a_share_of_clips_needs_photographs_beside_them(photos, tmp_path):
    result = run("--videos", photos, "--video-share", "0.1", "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "--video-share needs both --photos and --videos" in result.output
    for share in ("0", "1"):
        result = run("--photos", photos, "--videos", photos, "--video-share", share, "-o", tmp_path / "run")
        assert result.exit_code == 2
        assert "--video-share" in result.output


def test_photographs_and_clips_are_one_run(photos, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("fmanet_cli.training.session.train", lambda session, **_: seen.append(session) or iter(()))
    both = ("--photos", photos, "--videos", tmp_path)
    begun = run(*both, "-o", tmp_path / "run")
    assert begun.exit_code == 0
    assert f"reading {photos} and {tmp_path} first" in begun.stderr
    assert run(*both, "--video-share", "0.3", "-o", tmp_path / "run").exit_code == 0
    assert [(one.source_folder, one.video_folder, one.video_share) for one in seen] == [
        (photos, tmp_path, 0.2),
        (photos, tmp_path, 0.3),
    ]


def test_an_unknown_recipe_is_refused(photos, tmp_path):
    result = run("--photos", photos, "-o", tmp_path / "run", "--recipe", "huge")
    assert result.exit_code == 2
    assert "there is no recipe 'huge'; choose from paper, lite, base" in result.output


def test_a_loss_that_does_not_exist_or_has_no_weight_is_refused(photos, tmp_path):
    for text, message in (
        ("sharpness=1", "there is no loss 'sharpness'; choose from warped_sharp"),
        ("fourier", "'fourier' has no number behind NAME="),
        ("fourier=-1", "the weight of fourier must be a number from 0, got -1"),
        ("fourier=nan", "the weight of fourier must be a number from 0, got nan"),
    ):
        result = run("--photos", photos, "-o", tmp_path / "run", "--loss", text)
        assert result.exit_code == 2
        assert message in result.output


def test_a_favour_needs_names_and_a_share(photos, tmp_path):
    for text, message in (
        ("face-*", "'face-*' has no number behind NAME="),
        ("face-*=-1", "the share of face-* must be a number from 0, got -1"),
        ("face-*=1.5", "favoured shares must be above 0 and at most 1 together, got [1.5] (--favour)"),
    ):
        result = run("--photos", photos, "-o", tmp_path / "run", "--favour", text)
        assert result.exit_code == 2
        assert message in result.output


def test_a_decay_belongs_to_a_constant_schedule(photos, tmp_path):
    result = run("--photos", photos, "-o", tmp_path / "run", "--decay-from", 0.8)
    assert result.exit_code == 2
    assert "--decay-from belongs to --schedule constant" in result.output
