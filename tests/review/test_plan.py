"""What a run will take, and whether it will help."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fmanet_cli.cli import plan as plan_command
from fmanet_cli.review import verdict
from fmanet_cli.review.meters import ImageMeters
from fmanet_cli.review.verdict import FilmMeters, film_meters, judge
from support.command_line import fmanet


def meters(blur: float, across: float, noise: float = 1, blockiness: float = 0, most: float = 0) -> FilmMeters:
    return FilmMeters(blur=blur, blur_across=across, most_blur=most or blur, noise=noise, blockiness=blockiness)


@pytest.mark.parametrize(
    ("found", "kind", "helps"),
    [
        (meters(1.2, 0.6), "sharp", "yes"),
        (meters(1.2, 0.6, most=4), "motion", "yes"),
        (meters(4, 1.5), "motion", "yes"),
        (meters(2.2, 1.8), "soft", "yes"),
        (meters(10, 2.4), "long motion", "some"),
        (meters(3.8, 3.0), "focus", "little"),
        (meters(4, 1.5, noise=9), "noise", "some"),
        (meters(1.5, 1.2, blockiness=0.05), "blocks", "some"),
        (meters(2.1, 1.8, blockiness=0.3), "heavy blocks", "little"),
        # Blurred before it was coded: the coder is not to blame.
        (meters(6.9, 2.4, blockiness=0.3), "motion", "yes"),
        (meters(6.1, 5.4, blockiness=0.4), "focus", "little"),
        (None, "unknown", "unknown"),
    ],
)
def test_what_helps_and_what_does_not(found: FilmMeters | None, kind: str, helps: str) -> None:
    said = judge(found, 180, 320)
    assert (said.kind, said.helps) == (kind, helps)
    assert judge(found, 1080, 1920).kind == "large"


def test_frames_that_say_nothing_are_not_counted() -> None:
    black = ImageMeters(blur=60, blur_across=60, angle=0, noise=0, blockiness=0, contrast=1)
    seen = [
        ImageMeters(blur=blur, blur_across=1, angle=0, noise=2, blockiness=blocks, contrast=50)
        for blur, blocks in ((2, 0.1), (3, 0.2), (4, 0))
    ]
    found = film_meters([black, *seen, black])
    assert found is not None
    assert (found.blur, found.noise) == (3, 2)
    assert found.blockiness == 0.1
    assert film_meters([black]) is None


def test_the_command_says_what_a_run_takes(make_clip, weights: Path, tmp_path: Path) -> None:
    clip = make_clip(count=6, height=36, width=48)
    words = ("plan", clip, "-n", weights, "--precision", "fp32", "--scale", 2, "-o", tmp_path / "out.mp4")
    result = fmanet(*words)
    assert result.exit_code == 0, result.output
    assert "6 in 1 shot, 48x36 to 96x72" in result.stdout
    assert "(measured)" in result.stdout
    assert "tiny.safetensors on" in "".join(line.strip() for line in result.stdout.splitlines())
    assert not (tmp_path / "out.mp4").exists()
    (plan,) = json.loads(fmanet(*words, "--json").stdout)
    assert plan["estimate"]["output_size"] == [96, 72]
    assert plan["estimate"]["how"] == "measured"
    assert plan["estimate"]["seconds"] > 0
    assert (plan["shots"], plan["looked_at"], plan["target"]) == (1, 6, str(tmp_path / "out.mp4"))
    assert plan["verdict"]["helps"] in ("yes", "some", "little")


def test_films_of_one_size_are_timed_once(make_clip, weights: Path) -> None:
    clips = [make_clip(f"{name}.mp4", count=4) for name in "ab"]
    plans = json.loads(fmanet("plan", *clips, "-n", weights, "--precision", "fp32", "--json").stdout)
    assert [plan["estimate"]["how"] for plan in plans] == ["measured", "extrapolated"]
    # 24 rows are too few to be measured.
    assert [plan["verdict"]["kind"] for plan in plans] == ["unknown", "unknown"]


def test_a_broken_film_does_not_hide_the_others(make_clip, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    words = ("plan", tmp_path / "text.mp4", make_clip(count=2), "-n", weights, "--precision", "fp32")
    result = fmanet(*words, "--json")
    broken, good = json.loads(result.stdout)
    assert (result.exit_code, good["estimate"]["frames"]) == (3, 2)
    assert "text.mp4 cannot be read" in broken["error"]
    result = fmanet(*words)
    assert "2 in 1 shot, 32x24 to 128x96" in result.stdout
    assert (result.exit_code, result.stderr.count("cannot be read")) == (3, 1)


@pytest.mark.parametrize(
    "words", [("preview", "."), ("explain", ".", "--at", 0), ("join", "."), ("compare", "a.mp4", "."), ("join", "/")]
)
def test_a_folder_is_no_file(words: tuple[object, ...]) -> None:
    result = fmanet(*words)
    assert (result.exit_code, "is a folder; give a file" in result.stderr) == (2, True), result.output


def test_what_cannot_be_planned(tmp_path: Path) -> None:
    assert fmanet("plan", tmp_path / "none.mp4").exit_code == 3
    (tmp_path / "text.mp4").write_text("no video")
    assert fmanet("plan", tmp_path / "text.mp4").exit_code == 3


@pytest.mark.parametrize("is_long", [True, False])
def test_a_long_run_begins_with_its_plan(
    make_clip, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_long: bool
) -> None:
    clip = make_clip(count=6, height=36, width=48)
    monkeypatch.setitem(plan_command.LONG_RUN_PIXELS, "cpu", 6 * 36 * 48 + (not is_long))
    result = fmanet("restore", clip, "-o", tmp_path / "out.mp4", "-n", weights, "--precision", "fp32", "-d", "cpu")
    assert result.exit_code == 0, result.output
    assert ("6 in 1 shot, 48x36 to 192x144; about 0:0" in result.stderr) == is_long
    assert ("fmanet preview shows it" in result.stderr) == is_long


def test_promised_gains_are_the_measured_medians() -> None:
    rows = re.findall(r"^    ([a-z ]+?) +\d+ +(-?\d+\.\d\d) ", verdict.__doc__ or "", flags=re.MULTILINE)
    medians = {kind: float(median) for kind, median in rows}
    promised = {
        kind: float(found[1])
        for kind, one in verdict._BY_KIND.items()
        if (found := re.search(r"([\d.]+) dB over bicubic", one.sentence))
    }
    assert len(promised) >= 6
    assert {kind: abs(medians[kind] - gain) <= 0.051 for kind, gain in promised.items()} == dict.fromkeys(
        promised, True
    )


def test_the_gains_can_be_measured_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from support import gain_by_kind

    two = gain_by_kind.ways()[0], gain_by_kind.ways()[11]
    monkeypatch.setattr(gain_by_kind, "ways", lambda: list(two))
    monkeypatch.setattr(gain_by_kind, "LONGEST_SIDE", 160)
    gain_by_kind.main("lite", str(Path(__file__).parents[2] / "examples/before-after.png"))
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["kind", "frames", "median"]
    assert sum(int(line[16:22]) for line in lines) == 2
    assert all(-5 < float(line[22:31]) < 15 for line in lines)
