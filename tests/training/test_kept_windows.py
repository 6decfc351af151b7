"""Validation windows are made once for a run and are the same bytes when it goes on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from fmanet_cli.training import session as sessions
from fmanet_cli.training.kept_windows import KEPT_NAME, kept_windows
from fmanet_cli.training.photos import PhotoWindows
from fmanet_cli.training.run_options import RunOptions
from fmanet_cli.training.session import Session, build_validation
from fmanet_cli.training.validation import ValidationWindows
from fmanet_cli.video.read.images import write_image
from tests.training.conftest import TINY, SimpleWindows, tiny_recipe


def made_windows() -> list[ValidationWindows]:
    return [ValidationWindows.of(SimpleWindows().batch(index)) for index in range(12)]


def refuse() -> list[ValidationWindows]:
    raise AssertionError("made anew")


def assert_equal(mine: list[ValidationWindows], theirs: list[ValidationWindows]) -> None:
    for one, other in zip(mine, theirs, strict=True):
        assert torch.equal(one.blurry, other.blurry)
        assert torch.equal(one.truth, other.truth)


def test_kept_windows_are_those_that_were_made(tmp_path: Path) -> None:
    made = list(kept_windows(tmp_path, "a", made_windows))
    assert_equal(made, made_windows())
    assert_equal(list(kept_windows(tmp_path, "a", refuse)), made)


def test_windows_of_another_making_or_a_broken_file_are_made_anew(tmp_path: Path) -> None:
    kept_windows(tmp_path, "a", made_windows)
    with pytest.raises(AssertionError, match="made anew"):
        kept_windows(tmp_path, "b", refuse)
    (tmp_path / KEPT_NAME).write_bytes(b"no tensors")
    assert_equal(list(kept_windows(tmp_path, "a", made_windows)), made_windows())
    assert_equal(list(kept_windows(tmp_path, "a", refuse)), made_windows())


def test_a_run_that_goes_on_reads_its_windows_until_photographs_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "VALIDATION_BATCHES", 1)
    photos, folder, device = tmp_path / "photos", tmp_path / "run", torch.device("cpu")
    photos.mkdir()
    folder.mkdir()
    generator = torch.Generator().manual_seed(1)
    write_image(photos / "0.png", torch.rand(330, 330, 3, generator=generator).numpy())
    recipe = dataclasses.replace(tiny_recipe(steps=1), config=TINY)
    run = RunOptions(folder=folder)
    session = Session(
        recipe=recipe, run=run, source_kind="photos", source_folder=photos, validation_folder=photos, device="cpu"
    )
    made = build_validation(session, device)
    with monkeypatch.context() as patched:
        patched.setattr(PhotoWindows, "batch", lambda *_: refuse())
        assert_equal(build_validation(session, device), made)
    write_image(photos / "0.png", torch.rand(330, 330, 3, generator=generator).numpy())
    changed = build_validation(session, device)
    assert not torch.equal(changed[0].truth, made[0].truth)
