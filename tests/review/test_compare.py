"""Source and output beside each other; the page is tried in a real browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from fmanet_cli.review import compare_page
from fmanet_cli.review.compare import FilmPair, most_changed
from fmanet_cli.review.compare_film import wiped
from fmanet_cli.video.frames import Frame, VideoInfo
from fmanet_cli.video.pixels.colour import Colour
from fmanet_cli.video.read.images import read_image
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.codecs import EncoderOptions
from fmanet_cli.video.write.writer import VideoWriter
from support.command_line import fmanet

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
COUNT, HEIGHT, WIDTH = 30, 36, 64
QUARTER_TURN = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
"""For players: to be turned clockwise."""


def write(path: Path, scale: int, *, blur: float, count: int = COUNT) -> Path:
    """Coloured patches under a moving camera."""
    like = VideoInfo(
        path="made",
        height=HEIGHT * scale,
        width=WIDTH * scale,
        time_base=Fraction(1, 24),
        frame_rate=Fraction(24),
        colour=Colour(matrix=1, full_range=False),
    )
    large = np.random.default_rng(7).random((30, 40, 3)).astype(np.float32)
    large = cv2.resize(large, (160 * scale, 120 * scale), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    with VideoWriter(path, like=like, scale=1) as writer:
        for index in range(count):
            view = large[index * scale : (index + HEIGHT) * scale, 2 * index * scale : (2 * index + WIDTH) * scale]
            image = cv2.GaussianBlur(view, (0, 0), blur) if blur else np.ascontiguousarray(view)
            writer.write(Frame(image, pts=index, time_base=Fraction(1, 24), duration=1))
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("films")
    return write(folder / "a.mp4", 1, blur=1.5), write(folder / "b <i>.mp4", 4, blur=0)


DRIVER = """
<script>
const wrong = [];
addEventListener("error", event => wrong.push(event.message));
console.error = (...words) => wrong.push(words.join(" "));
</script>
"""

TRIAL = """
<script>
addEventListener("load", () => {
  const seen = {}, value = () => Number(document.getElementById("wipe").value);
  const key = name => document.body.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
  const where = () => document.getElementById("where").textContent;
  const box = document.getElementById("box").getBoundingClientRect();
  const handle = document.getElementById("handle");
  const touch = (type, x) => handle.dispatchEvent(
    new PointerEvent(type, { clientX: box.left + x * box.width, buttons: 1, pointerType: "touch", bubbles: true }));
  seen.start = value();
  touch("pointerdown", 0.5); touch("pointermove", 0.8);
  seen.dragged = value();
  seen.clip = document.getElementById("before").style.clipPath;
  key("ArrowLeft"); seen.arrow = value();
  seen.first = where(); key("."); seen.stepped = where(); key(","); seen.back = where();
  key("+"); seen.zoomed = where();
  const sides = ["before", "after"].map(name => document.getElementById(name).getBoundingClientRect());
  seen.locked = sides[0].width === sides[1].width && sides[0].left === sides[1].left
    && sides[0].width > 1.9 * box.width;
  key("-"); key(" "); seen.playing = document.getElementById("play").getAttribute("aria-pressed"); key(" ");
  const list = document.getElementById("list");
  list.value = "clip"; list.dispatchEvent(new Event("change")); seen.frames = where();
  seen.overflow = document.documentElement.scrollWidth - innerWidth;
  document.body.style.width = "360px";
  seen.narrow = document.body.scrollWidth;
  document.body.style.width = "";
  seen.unnamed = [...document.querySelectorAll("button, input, select, svg, img")].filter(
    e => !(e.getAttribute("aria-label") || e.alt || e.textContent.trim())).length;
  const crossing = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  seen.crossing = [...document.querySelectorAll("svg")].filter(chart => {
    const boxes = [...chart.querySelectorAll("text, polyline")].map(part => part.getBoundingClientRect());
    const lines = chart.querySelectorAll("polyline").length;
    return boxes.some((a, i) => boxes.some((b, j) => i < j && j >= lines && crossing(a, b)));
  }).length;
  seen.wrong = wrong;
  const told = document.createElement("pre");
  told.id = "told"; told.textContent = JSON.stringify(seen); document.body.append(told);
});
</script>
"""


def in_browser(page: Path, *words: str) -> str:
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={page.parent / 'profile'}",
    ]
    done = subprocess.run([*command, *words, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.parametrize("size", ["1280,900", "500,900"])
def test_the_page_works_in_a_browser(films: tuple[Path, Path], tmp_path: Path, size: str) -> None:
    assert fmanet("compare", *films, "-o", tmp_path / "page.html").exit_code == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    trial = tmp_path / "trial.html"
    trial.write_text(text.replace("<head>", "<head>" + DRIVER).replace("</body>", TRIAL + "</body>"), encoding="utf-8")
    dom = in_browser(trial, f"--window-size={size}", "--dump-dom", "--virtual-time-budget=4000")
    told = json.loads(re.search(r'<pre id="told">(.*?)</pre>', dom, flags=re.DOTALL).group(1))
    assert told["wrong"] == []
    assert (told["start"], told["dragged"], told["arrow"]) == (50, 80, 78)
    assert told["clip"].startswith("inset(0")
    assert told["first"] != told["stepped"]
    assert told["back"] == told["first"]
    assert told["zoomed"].endswith("zoom 2")
    assert told["locked"] is True
    assert told["playing"] == "true"
    assert "(1 of 24)" in told["frames"]
    assert told["overflow"] <= 0
    assert told["narrow"] <= 360
    assert told["unnamed"] == 0
    assert told["crossing"] == 0, "numbers of a chart lie over each other or over its lines"


def test_the_page_needs_nothing_else_and_is_small(films: tuple[Path, Path], tmp_path: Path) -> None:
    result = fmanet("compare", *films)
    assert result.exit_code == 0, result.output
    page = films[1].with_name("b <i>_compared.html")
    text = page.read_text(encoding="utf-8")
    page.unlink()
    assert len(text) < compare_page.LARGEST_BYTES
    assert not re.search(r"(src|href)=[\"']?(https?:)?//|url\(|@import", text)
    assert "<i>" not in text.replace("&lt;i&gt;", "")
    assert text.count("<svg") == 2
    assert "prefers-color-scheme: dark" in text


def test_a_page_is_kept_below_its_size(films: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = len(compare_page.comparison_page(FilmPair(*films), "t"))
    monkeypatch.setattr(compare_page, "LARGEST_BYTES", whole - 1)
    assert len(compare_page.comparison_page(FilmPair(*films), "t")) < whole


def test_what_changed_is_measured_and_held_against_the_truth(films: tuple[Path, Path], tmp_path: Path) -> None:
    pair = FilmPair(*films, films[1])
    changes = pair.changes()
    assert [change.number for change in changes] == list(range(COUNT))
    for change in changes:
        assert change.sharpness_after > change.sharpness_before
        assert change.truth_after == 99
        assert change.truth_before == pytest.approx(change.difference)
    worst = sorted(changes, key=lambda change: change.difference)[0].number
    assert worst in most_changed(changes)
    assert len(most_changed(changes)) == 6
    assert pair.clip_around(2) == list(range(24))
    assert pair.clip_around(COUNT - 1) == list(range(COUNT - 24, COUNT))


def test_a_sheet_and_a_film(films: tuple[Path, Path], tmp_path: Path) -> None:
    assert fmanet("compare", *films, "-o", tmp_path / "s.png").exit_code == 0
    assert read_image(tmp_path / "s.png").shape[1] > 1000
    assert fmanet("compare", *films, "-o", tmp_path / "f.mp4").exit_code == 0
    with VideoReader(tmp_path / "f.mp4") as reader:
        assert (reader.info.width, reader.info.height) == (2 * 4 * WIDTH, 4 * HEIGHT)
        frames = list(reader)
    assert len(frames) == COUNT
    left, right = np.split(frames[3].image, 2, axis=1)
    assert np.abs(cv2.Laplacian(right, cv2.CV_32F)).mean() > np.abs(cv2.Laplacian(left, cv2.CV_32F)).mean()


def test_a_film_behind_a_line_that_moves(films: tuple[Path, Path], tmp_path: Path) -> None:
    assert fmanet("compare", *films, "-o", tmp_path / "w.mkv", "--layout", "wipe").exit_code == 0
    with VideoReader(tmp_path / "w.mkv") as reader:
        frames = list(reader)
    assert (len(frames), frames[0].size) == (COUNT, (4 * HEIGHT, 4 * WIDTH))
    before, after = np.zeros((20, 800, 3), np.float32), np.full((20, 800, 3), 0.5, np.float32)
    places = [float((wiped(before, after, seconds) == 0).all(axis=(0, 2)).sum()) for seconds in (0, 2, 4, 6)]
    assert places == pytest.approx([400, 760, 400, 40], abs=4)
    assert (wiped(before, after, 0) == 1).all(axis=(0, 2)).sum() == 2


def test_a_film_that_is_turned_is_compared_as_players_show_it(films: tuple[Path, Path], tmp_path: Path) -> None:
    upright, turned = write(tmp_path / "upright.mp4", 1, blur=0), tmp_path / "turned.mp4"
    with VideoReader(upright) as reader:
        like = replace(reader.info, width=HEIGHT, height=WIDTH, display_matrix=QUARTER_TURN)
        # Fine enough that what x264 decides, not the same each time on every processor, does not show.
        with VideoWriter(turned, like=like, scale=1, encoder=EncoderOptions(crf=10)) as writer:
            for frame in reader:
                writer.write(replace(frame, image=np.ascontiguousarray(np.rot90(frame.image))))
    with VideoReader(turned) as reader:
        assert (reader.info.display_matrix, reader.info.width) == (QUARTER_TURN, HEIGHT)
    assert all(change.difference > 30 for change in FilmPair(turned, upright, upright).changes())
    assert fmanet("compare", turned, turned, "-o", tmp_path / "p.html").exit_code == 0
    assert f"aspect-ratio: {WIDTH} / {HEIGHT}" in (tmp_path / "p.html").read_text()
    assert fmanet("compare", turned, upright, "-o", tmp_path / "t.mp4").exit_code == 0
    with VideoReader(tmp_path / "t.mp4") as reader:
        left, right = np.split(next(reader).image, 2, axis=1)
    assert left.shape[:2] == (HEIGHT, WIDTH)
    assert np.abs(left - right).mean() < 0.03


def test_the_truth_on_a_sheet_and_in_a_film(films: tuple[Path, Path], tmp_path: Path) -> None:
    plain, with_truth = tmp_path / "a.png", tmp_path / "b.png"
    assert fmanet("compare", *films, "-o", plain).exit_code == 0
    assert fmanet("compare", *films, "-o", with_truth, "--truth", films[1]).exit_code == 0
    assert read_image(with_truth).shape[1] > read_image(plain).shape[1]
    assert fmanet("compare", *films, "-o", tmp_path / "t.mp4", "--truth", films[1]).exit_code == 0
    with VideoReader(tmp_path / "t.mp4") as reader:
        _, restored, truth = np.split(next(reader).image, 3, axis=1)
    assert np.abs(restored - truth).mean() < 0.01


def test_a_place_that_takes_no_comparison_is_refused_before_the_work(
    films: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmanet_cli.review.compare.FilmPair", lambda *_: pytest.fail("the films were read"))
    for name in ("p.html", "p.png", "p.mp4"):
        result = fmanet("compare", *films, "-o", tmp_path / "none" / name)
        assert (result.exit_code, "none does not exist; make it first" in result.stderr) == (7, True), result.stderr


def test_what_cannot_be_compared(films: tuple[Path, Path], tmp_path: Path) -> None:
    short = write(tmp_path / "short.mp4", 1, blur=0, count=4)
    assert fmanet("compare", short, films[1], "-o", tmp_path / "p.html").exit_code == 2
    assert fmanet("compare", *films, "-o", tmp_path / "p.gif").exit_code == 2
    small = fmanet("compare", *films, "-o", tmp_path / "p.html", "--truth", films[0])
    assert (small.exit_code, "give a sharp film of the output's size" in small.stderr) == (2, True)
    assert fmanet("compare", *films, "-o", tmp_path / "s.png", "--layout", "wipe").exit_code == 2
    words = ("-o", tmp_path / "w.mp4", "--layout", "wipe", "--truth", films[1])
    assert fmanet("compare", *films, *words).exit_code == 2
    assert fmanet("compare", tmp_path / "no.mp4", films[1], "-o", tmp_path / "p.html").exit_code == 3
    (tmp_path / "p.html").write_text("mine")
    assert fmanet("compare", *films, "-o", tmp_path / "p.html").exit_code == 2
    assert (tmp_path / "p.html").read_text() == "mine"
