"""`fmanet evaluate` from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from fmanet_cli.cli.evaluate import _PRESETS, command
from fmanet_cli.cli.main import main as fmanet
from fmanet_cli.dataset.byte_images import quantize
from fmanet_cli.dataset.imaging.presets import PRESETS
from fmanet_cli.dataset.resampling import shrink
from fmanet_cli.video.read.images import read_image, write_image

GOLDEN = Path(__file__).parents[1] / "evaluation" / "golden"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


def write_frames(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        write_image(folder / f"{index:03d}.png", image.astype(np.float32) / 255)
    return folder


@pytest.fixture
def scene() -> np.ndarray:
    return quantize(read_image(GOLDEN / "gt" / "seq" / "00000000.png"))


def test_restored_frames_against_the_authors_figures(tmp_path):
    result = run(GOLDEN / "out", "--truth", GOLDEN / "gt", "--json", tmp_path / "r.json", "--csv", tmp_path / "r.csv")
    assert result.exit_code == 0
    report, expected = json.loads((tmp_path / "r.json").read_text()), json.loads((GOLDEN / "expected.json").read_text())
    assert set(report) == {"clips", "mean"}
    assert set(report["clips"]["seq"]) == {"psnr", "ssim", "tof", "frames"}
    assert report["mean"]["psnr"] == pytest.approx(np.mean(expected["rgb_psnr"]), abs=1e-3)
    assert report["mean"]["ssim"] == pytest.approx(np.mean(expected["ssim"]), abs=1e-5)
    assert report["mean"]["tof"] == pytest.approx(np.mean(expected["tOF"]), abs=1e-4)
    assert [frame["psnr"] for frame in report["clips"]["seq"]["frames"]] == pytest.approx(
        expected["rgb_psnr"], abs=1e-3
    )
    assert (tmp_path / "r.csv").read_text().splitlines()[0] == "clip,frame,psnr,ssim,tof"
    seq, mean = result.stdout.splitlines()[-2:]
    assert seq.split() == ["seq", "4", "33.02/0.8660/0.99"]
    assert mean.split() == ["mean", "4", "33.02/0.8660/0.99"]


def test_low_resolution_frames_are_restored_by_the_model(tmp_path, scene):
    truths = [scene[:64, i : i + 64] for i in range(3)]
    sharp = write_frames(tmp_path / "sharp", truths)
    blurry = write_frames(tmp_path / "blurry", [shrink(truth) for truth in truths])
    report_path = tmp_path / "r.json"
    result = run(
        "--input", blurry, "--truth", sharp, "--model", "random:lite", "--precision", "fp32", "--json", report_path
    )
    assert result.exit_code == 0
    report = json.loads(report_path.read_text())
    assert len(report["clips"]["blurry"]["frames"]) == len(report["bicubic"]["clips"]["blurry"]["frames"]) == 3
    assert report["gain"] == pytest.approx(report["mean"]["psnr"] - report["bicubic"]["mean"]["psnr"])
    assert report["settings"]["model"] == "random:lite"
    assert report["settings"]["precision"] == "fp32"
    assert "mean gain over bicubic" in result.stdout


def test_sharp_clips_are_degraded_with_the_seed_given(tmp_path, scene):
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "house.png", scene.astype(np.float32) / 255)
    walk = write_frames(tmp_path / "walk", [scene[:64, 2 * i : 2 * i + 64] for i in range(4)])
    reports = []
    for seed in (1, 1, 2):
        result = run(
            "--degrade", tmp_path / "photos", walk, "--model", "random:lite", "--frames", 2, "--size", 96,
            "--precision", "fp32", "--seed", seed, "--json", tmp_path / "r.json",
        )  # fmt: skip
        assert result.exit_code == 0
        reports.append(json.loads((tmp_path / "r.json").read_text()))
    assert {name: len(clip["frames"]) for name, clip in reports[0]["clips"].items()} == {"house": 2, "walk": 2}
    assert reports[0] == reports[1]
    assert reports[0]["bicubic"]["clips"]["house"] != reports[2]["bicubic"]["clips"]["house"]
    assert reports[0]["settings"]["degradation"] == {
        "exposure": 0.8, "stride": 1, "frame_limit": 2, "size_limit": 96, "still": False, "seed": 1,
    }  # fmt: skip


def test_reds4_prints_the_published_rows(tmp_path, scene):
    for index, name in enumerate(("000", "011", "015", "020")):
        truths = [scene[index : index + 64, i : i + 64] for i in range(3)]
        write_frames(tmp_path / "train_sharp" / name, truths)
        write_frames(tmp_path / "train_blur_bicubic" / "X4" / name, [shrink(truth) for truth in truths])
    result = run("--reds4", tmp_path, "--model", "random:lite", "--json", tmp_path / "r.json")
    assert result.exit_code == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert {name: len(clip["frames"]) for name, clip in report["clips"].items()} == dict.fromkeys(
        ("000", "011", "015", "020"), 1
    )
    assert ["FMA-Net,", "published", "28.83/0.8315/1.92"] in [line.split() for line in result.stdout.splitlines()]


def test_tiles_are_compared_when_asked(tmp_path, scene, monkeypatch):
    monkeypatch.setattr("fmanet_cli.evaluation.evaluate.COMPARED_TILE_PIXELS", 32)
    sharp = write_frames(tmp_path / "sharp", [scene])
    result = run("--degrade", sharp, "--still", "--frames", 1, "--model", "random:lite", "--compare-tiles")
    assert result.exit_code == 0
    (decibels,) = re.findall(r"against tiles of 32, overlap 16: (\S+) dB", result.stdout)
    assert 20 < float(decibels) < 200, "a frame of 70x50 is not the same in tiles of 32"


def test_a_source_that_looks_sharpened_is_scored_softened(tmp_path, scene):
    sharp, gains = write_frames(tmp_path / "sharp", [scene]), {}
    for look in ("plain", "camera"):
        words = ("--degrade", sharp, "--still", "--frames", 1, "--source", look, "--compare-tiles")
        assert run(*words, "--json", tmp_path / "r.json").exit_code == 0
        report = json.loads((tmp_path / "r.json").read_text())
        assert report["settings"]["source_look"] == look
        gains[look] = report["gain"]
        (tmp_path / "r.json").unlink()
    assert gains["camera"] < gains["plain"] - 0.1, "what nobody has sharpened loses"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give RESTORED --truth, --input --truth, --degrade SHARP... or --reds4 DIR"),
        (["--degrade"], "--degrade needs sharp clips"),
        (["--truth", GOLDEN], "--truth needs RESTORED or --input"),
        (["--degrade", GOLDEN, "--input", GOLDEN], "--input goes with --truth"),
        (["--degrade", GOLDEN, "--reds4", GOLDEN], "give RESTORED --truth"),
        ([GOLDEN, GOLDEN, "--truth", GOLDEN], "give --truth once for each clip"),
        ([GOLDEN, "--truth", GOLDEN, "--model", "lite"], "RESTORED is compared as it is: leave out --model"),
        ([GOLDEN, "--truth", GOLDEN, "--source", "camera"], "RESTORED is compared as it is: leave out --source"),
        (
            ["--input", GOLDEN, "--truth", GOLDEN, "--still", "--exposure", "0.8"],
            "only --degrade makes frames: leave out --exposure, --still",
        ),
        (["--reds4", GOLDEN, "--frames", "2"], "--reds4 takes all frames: leave out --frames"),
    ],
)
def test_impossible_combinations_are_usage_errors(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_what_cannot_be_compared_is_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        fmanet(["evaluate", str(GOLDEN / "out" / "seq"), "--truth", str(GOLDEN)])
    assert stopped.value.code == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: no images or videos in")


def test_the_folder_of_a_report_is_checked_before_the_work(capsys):
    report = GOLDEN / "nowhere" / "r.json"
    with pytest.raises(SystemExit) as stopped:
        fmanet(["evaluate", str(GOLDEN / "out"), "--truth", str(GOLDEN / "gt"), "--json", str(report)])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"error: the folder for {report} does not exist: make it first\n"


def test_every_preset_is_one_table(tmp_path, scene):
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "house.png", scene.astype(np.float32) / 255)
    result = run(
        "--degrade", tmp_path / "photos", "--photos", "--preset", "all", "--model", "random:lite", "--frames", 2,
        "--size", 64, "--precision", "fp32", "--json", tmp_path / "r.json",
    )  # fmt: skip
    assert result.exit_code == 0
    names = list(json.loads((tmp_path / "r.json").read_text())["summary"])
    assert [name for name in names[1:] if ", " not in name] == list(PRESETS)
    assert len(names) == 1 + len(PRESETS) + sum(len(preset.exposures) for preset in PRESETS.values())


def test_a_preset_records_clips_and_tells_the_harm(tmp_path, scene):
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "house.png", scene.astype(np.float32) / 255)
    arguments = ("--degrade", tmp_path / "photos", "--photos", "--preset", "unsharp-0.8")
    result = run(
        *arguments, "--model", "random:lite", "--frames", 4, "--size", 64, "--precision", "fp32",
        "--json", tmp_path / "r.json",
    )  # fmt: skip
    assert result.exit_code == 0
    assert "harm %" in result.stdout
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["settings"]["presets"] == ["unsharp-0.8"]
    assert set(report["summary"]) == {"all", "still"}
    both = ("--preset", "unsharp-0.4", "--preset", "unsharp-0.8", "--preset", "unsharp-0.4")
    result = run(
        "--degrade", tmp_path / "photos", "--photos", *both, "--model", "random:lite", "--frames", 4, "--size", 64,
        "--precision", "fp32", "--json", tmp_path / "both.json",
    )  # fmt: skip
    assert result.exit_code == 0
    of_both = json.loads((tmp_path / "both.json").read_text())
    assert of_both["settings"]["presets"] == ["unsharp-0.4", "unsharp-0.8"]
    assert of_both["summary"]["unsharp-0.8"] == report["summary"]["all"]
    assert "unsharp-0.8, still" in result.stdout and "house" not in result.stdout
    refused = run(*arguments, "--still")
    assert refused.exit_code == 2 and "--preset brings its own" in refused.output
    assert sorted(PRESETS) == sorted(_PRESETS)
