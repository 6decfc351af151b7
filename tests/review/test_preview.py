"""Moments of a film, restored before all of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fmanet_cli.cli import terminal_image
from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import OptionError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.review import survey as survey_module
from fmanet_cli.review.crops import most_changed_area
from fmanet_cli.review.moments import window_at
from fmanet_cli.review.preview import preview_rows
from fmanet_cli.review.survey import Moment, choose_moments, survey_film
from fmanet_cli.video.frames import Frame, VideoInfo
from fmanet_cli.video.pixels.colour import Colour
from fmanet_cli.video.read.images import read_image
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.writer import VideoWriter
from support.command_line import fmanet
from support.dead_leaves import dead_leaves, line_of_blur

BLURRED, CUT, COUNT = 13, 10, 20


def images() -> Iterator[np.ndarray]:
    """Two shots; one frame is far more blurred than all others."""
    scenes = [dead_leaves(60, 110, seed=seed) for seed in (1, 2)]
    for number in range(COUNT):
        view = np.ascontiguousarray(scenes[number >= CUT][:48, number : number + 64])
        yield line_of_blur(view, 12 if number == BLURRED else 2, 0)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    like = VideoInfo(
        path="made",
        height=48,
        width=64,
        time_base=Fraction(1, 10),
        frame_rate=Fraction(10),
        colour=Colour(matrix=1, full_range=False),
    )
    with VideoWriter(path, like=like, scale=1) as writer:
        for number, image in enumerate(images()):
            writer.write(Frame(image, pts=number, time_base=Fraction(1, 10), duration=1))
    return path


def test_the_blurriest_and_the_typical_of_both_shots(film: Path) -> None:
    survey = survey_film(film)
    assert (survey.frame_count, survey.shots, len(survey.frames)) == (COUNT, 2, COUNT)
    moments = choose_moments(survey, 4)
    assert [moment.seconds for moment in moments] == sorted({moment.seconds for moment in moments})
    blurriest = [moment for moment in moments if moment.reason == "blurriest"]
    assert len(blurriest) == len(moments) - len(blurriest) == 2
    assert max(blurriest, key=lambda moment: moment.blur or 0).seconds == pytest.approx(BLURRED / 10)
    # One of each shot.
    assert sorted(moment.seconds < CUT / 10 for moment in blurriest) == [False, True]
    usual = sorted(frame.meters.blur for frame in survey.frames)[COUNT // 2]
    assert all(abs((moment.blur or 0) - usual) < 0.3 for moment in moments if moment.reason == "typical")
    assert len(choose_moments(survey, 100)) == COUNT


def test_a_long_film_is_looked_at_in_places(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_module, "MOST_DECODED_PIXELS", 64 * 48 * 6)
    survey = survey_film(film)
    assert (survey.frame_count, survey.shots) == (None, None)
    assert survey.frames
    assert all(0 <= frame.seconds < 2 for frame in survey.frames)


def test_a_moment_is_restored_as_in_a_run(film: Path, tiny_model: FMANet) -> None:
    restorer = Restorer(tiny_model, device="cpu", precision="fp32")
    with VideoReader(film) as reader:
        frames = list(reader)
    moments = [Moment(number / 10, "asked") for number in (0, 4, CUT - 1)]
    windows = [window_at(film, moment.seconds, 1) for moment in moments]
    looks = ("plain", "camera")
    rows = list(preview_rows(moments, windows, [restorer, restorer], strength=0.5, source_looks=looks))
    runs = [restorer.start(48, 64, strength=0.5, source_look=look) for look in looks]
    expected = [[frame.image for frame in run.restore(frames[:CUT])] for run in runs]
    for row, number in zip(rows, (0, 4, CUT - 1), strict=True):
        for shown, images in zip(row.after[:2], expected, strict=True):
            assert np.abs(shown - images[number]).max() < 1e-5
        assert np.abs(row.after[0] - row.after[1]).max() > 0.005
        assert all(map(np.array_equal, row.after[:2], row.after[2:]))
        assert row.before.shape == row.after[0].shape == (192, 256, 3)


def test_a_portrait_stands_upright(film: Path, tiny_model: FMANet) -> None:
    restorer = Restorer(tiny_model, device="cpu", precision="fp32")
    moment, window = Moment(0.4, "asked"), window_at(film, 0.4, 1)
    (plain,) = preview_rows([moment], [window], [restorer])
    (turned,) = preview_rows([moment], [window], [restorer], matrix=(0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30))
    assert np.array_equal(turned.before, np.rot90(plain.before, -1))
    assert np.array_equal(turned.after[0], np.rot90(plain.after[0], -1))


def test_the_area_of_the_largest_change() -> None:
    before = np.zeros((60, 80, 3), np.float32)
    after = before.copy()
    after[40:50, 10:20] = 1
    rows, columns = most_changed_area(before, [before, after], (20, 30))
    assert rows.start <= 40
    assert rows.stop >= 50
    assert columns.start <= 10
    assert columns.stop >= 20
    assert (rows.stop - rows.start, columns.stop - columns.start) == (20, 30)
    assert most_changed_area(before, [after], (999, 999)) == (slice(0, 60), slice(0, 80))


def test_the_command_writes_a_sheet(film: Path, tmp_path: Path, weights: Path) -> None:
    target = tmp_path / "sheet.png"
    words = (
        "--count",
        2,
        "-n",
        weights,
        "--source",
        "plain",
        "--source",
        "camera",
        "--precision",
        "fp32",
        "-o",
        target,
    )
    result = fmanet("preview", film, *words)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == str(target)
    assert "s: blurriest, edges" in result.stdout
    assert read_image(target).shape[1] >= 3 * 256 + 4 * 12
    again = fmanet("preview", film, *words)
    assert (again.exit_code, "exists" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--at", "0.5", "--count", "3"), "--at"),
        (("--at", "99"), "ends before"),
        (("-o", "a.jpg"), ".png"),
        (("--strength", "2"), "strength"),
    ],
)
def test_what_cannot_be_previewed(film: Path, words: tuple[str, ...], text: str) -> None:
    result = fmanet("preview", film, *words)
    assert (result.exit_code, text in result.stderr) == (2, True), result.stderr
    assert not film.with_name("film_preview.png").exists()


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_work(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda _, mode: mode != os.W_OK)
    monkeypatch.setattr("fmanet_cli.cli.preview._moments", lambda *_: pytest.fail("the film was read"))
    for place, words in ((film.parent, "cannot be written to"), (film.parent / "none", "does not exist")):
        result = fmanet("preview", film, "-o", place / "a.png")
        assert (result.exit_code, words in result.stderr) == (7, True), result.stderr


def test_a_pipe_is_read_only_once() -> None:
    with pytest.raises(OptionError, match="only once"):
        survey_film("-")


@pytest.mark.parametrize("kind", ["SixelImage", "HalfcellImage"])
def test_only_terminals_with_graphics_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class TerminalImage:
        def __init__(self, path: Path, **_: object) -> None:
            self.path = path

        def __rich__(self) -> str:
            return f"drawn {self.path.name}"

    module = ModuleType("textual_image.renderable")
    classes = {name: type(name, (TerminalImage,), {}) for name in ("SixelImage", "TGPImage", "HalfcellImage")}
    vars(module).update(classes, Image=classes[kind])
    monkeypatch.setitem(sys.modules, "textual_image", ModuleType("textual_image"))
    monkeypatch.setitem(sys.modules, "textual_image.renderable", module)
    assert not terminal_image.draw(tmp_path / "a.png")
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    assert terminal_image.draw(tmp_path / "a.png") == (kind == "SixelImage")
    assert ("drawn a.png" in capsys.readouterr().out) == (kind == "SixelImage")
