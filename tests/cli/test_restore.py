"""`fmanet restore` and `fmanet batch` as a user types them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from fmanet_cli.engine.fast.network import StreamingRunner
from fmanet_cli.video.read.reader import VideoReader
from support.command_line import fmanet

MakeClip = Callable[..., Path]


def count_frames(path: Path) -> int:
    with VideoReader(path) as reader:
        return sum(1 for _ in reader)


def test_one_file(make_clip: MakeClip, tmp_path: Path, weights: Path) -> None:
    target = tmp_path / "sharp.mp4"
    result = fmanet("restore", make_clip(count=4), "-o", target, "--model", weights, "--precision", "fp32")
    assert result.exit_code == 0, result.output
    assert count_frames(target) == 4
    assert "4 at 32x24 to 128x96" in result.stderr
    assert "tiny.safetensors" in result.stderr
    assert result.stdout == ""


def test_a_list_of_cuts(make_clip: MakeClip, tmp_path: Path, weights: Path) -> None:
    cuts = tmp_path / "cuts.txt"
    cuts.write_text("1\n3\n")
    words = ["restore", make_clip(count=4), "-o", tmp_path / "sharp.mp4", "--model", weights]
    result = fmanet(*words, "--scene-detect", cuts)
    assert result.exit_code == 0, result.output
    assert re.search(r"shots +3\b", result.stderr)
    assert "shots" not in fmanet(*words, "-y", "--scene-detect", "off").stderr
    cuts.write_text("1\nthree\n")
    result = fmanet(*words, "-y", "--scene-detect", cuts)
    assert result.exit_code == 2
    assert "cuts.txt, line 2: 'three' is no frame number" in result.stderr
    clips = [make_clip(f"in/{name}.mp4", count=1) for name in "ab"]
    result = fmanet("restore", *clips, "-o", f"{tmp_path}/out/", "--model", weights, "--scene-detect", cuts)
    assert result.exit_code == 2
    assert "cuts.txt belong to one video, got 2" in result.stderr


def test_a_path_alone_means_restore_beside_the_input(make_clip: MakeClip, tmp_path: Path, weights: Path) -> None:
    result = fmanet(make_clip(count=2), "--model", weights, "-q")
    assert result.exit_code == 0, result.output
    assert count_frames(tmp_path / "clip_fmanet.mp4") == 2
    assert result.stderr == ""


def test_underscores_are_taken_for_hyphens(make_clip: MakeClip, tmp_path: Path, weights: Path) -> None:
    result = fmanet("restore", make_clip(count=1), "-o", tmp_path / "o.mp4", "--model", weights, "--tile_overlap", 8)
    assert result.exit_code == 0, result.output


def test_several_files_into_a_folder(make_clip: MakeClip, tmp_path: Path, weights: Path) -> None:
    clips = [make_clip(f"in/{name}.mp4", count=1) for name in "ab"]
    broken = tmp_path / "in/c.mp4"
    broken.write_text("no video")
    result = fmanet("restore", *clips, broken, "-o", f"{tmp_path}/out/", "--model", weights)
    assert result.exit_code == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mp4", "b.mp4"]
    assert "failed" in result.stderr


def test_an_output_without_a_suffix_is_said_to_be_a_folder(make_clip: MakeClip, tmp_path: Path, weights: Path) -> None:
    clip = make_clip(count=1, height=16, width=16)
    result = fmanet("restore", clip, "-o", tmp_path / "out", "--model", weights, "--precision", "fp32")
    assert result.exit_code == 0, result.output
    # It is the first line: said before the work.
    assert result.stderr.splitlines()[0] == f"{tmp_path}/out has no suffix: writing into the folder {tmp_path}/out/"
    assert (tmp_path / "out" / clip.name).is_file()
    again = fmanet("restore", clip, "-o", f"{tmp_path}/out/", "-y", "--model", weights, "--precision", "fp32")
    assert again.exit_code == 0, again.output
    assert "has no suffix" not in again.stderr


def test_without_a_terminal_a_line_a_minute(
    make_clip: MakeClip, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(count=5, height=16, width=16)
    words = ["restore", clip, "-o", tmp_path / "a.mp4", "-y", "--model", weights, "--precision", "fp32"]
    line = re.compile(rf"{clip.name}: (\d) of 5 frames, [\d.]+ frames/s(?:, \d+:\d\d left)?")

    def lines(*more: str) -> list[str]:
        result = fmanet(*words, *more)
        assert result.exit_code == 0, result.output
        return [found[1] for found in map(line.fullmatch, result.stderr.splitlines()) if found]

    # A short run is over before the first minute.
    assert lines() == []
    now = iter(range(0, 10**6, 25))
    monkeypatch.setattr("fmanet_cli.cli.sight.time", SimpleNamespace(monotonic=lambda: next(now)))
    # A look at the clock at the beginning and one for each event, 25 s apart: every third one is a minute later.
    assert lines() == ["2", "5"]
    assert lines("--quiet") == []


def test_verbose_says_tiles_memory_seconds_a_stage_and_shots(
    make_clip: MakeClip, tmp_path: Path, weights: Path
) -> None:
    clip = make_clip(count=3, height=40, width=48)
    words = ["restore", clip, "-o", tmp_path / "a.mp4", "-y", "--model", weights, "--precision", "fp32"]
    result = fmanet(*words, "-v", "--tile", "32")
    assert result.exit_code == 0, result.output
    for said in (
        rf"{re.escape(str(clip))}: tiles of 32 pixels, 16 shared",
        r"free memory: (\d+\.\d [GM]B|unknown)",
        r"seconds: decoding and finding cuts [\d.]+, .*the network, .* [\d.]+, .*encoding [\d.]+",
        r"shots: 1; tiles of 32 pixels, 16 shared",
    ):
        assert re.search(said, result.stderr), f"{said} in {result.stderr}"
    assert "lock" not in result.stderr.lower()
    assert "free memory" not in fmanet(*words).stderr


def test_batch_exits_1_when_one_failed_and_0_when_all_are_done(
    make_clip: MakeClip, tmp_path: Path, weights: Path
) -> None:
    make_clip("in/a.mp4", count=1)
    (tmp_path / "in/b.mp4").write_text("no video")
    assert fmanet("batch", tmp_path / "in", "-o", tmp_path / "out", "--model", weights).exit_code == 1
    (tmp_path / "in/b.mp4").unlink()
    result = fmanet("batch", tmp_path / "in", "-o", tmp_path / "out", "--model", weights)
    assert result.exit_code == 0
    assert "skipped" in result.stderr


@pytest.mark.parametrize(
    "name", ["x" * 300, "x" * 5000, "~nobody-of-this-name/" + "x" * 300], ids=["long", "longer", "below"]
)
def test_a_batch_into_a_folder_whose_name_is_too_long(
    name: str, make_clip: MakeClip, tmp_path: Path, weights: Path
) -> None:
    make_clip("in/a.mp4", count=1)
    result = fmanet("batch", tmp_path / "in", "-o", tmp_path / name, "--model", weights)
    assert result.exit_code == 1
    assert "too long" in " ".join(re.sub("[│┃]", " ", result.stderr).split())
    assert "unexpected" not in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["-o", "o.mp4", "--device", "cuda"], 5, "device cuda was asked for, but no CUDA device is available"),
        (["-o", "o.mp4", "--precision", "fp16", "--device", "cpu"], 5, "fp16 needs a GPU"),
        (["-o", "o.mp4", "--model", "lity"], 4, "lite"),
        (["-o", "o.mp4", "--tile", "7"], 2, "at least 32 pixels, got 7"),
        (["-o", "o.mp4", "--scene-threshold", "0"], 2, "the scene threshold must be a positive number"),
        (["-o", "o.mp4", "--scene-detect", "cuts.txt", "--start", "1"], 2, "cannot be used with a start at 1.0 s"),
        (["-o", "o.mp4", "--scene-detect", "cuts.txt"], 2, "cannot read the list of cuts cuts.txt: No such file"),
        (["-o", "o.mp4", "-e", "tune"], 2, "--encoder-option must be KEY=VALUE, got 'tune'"),
        (["-o", "o.mp4", "--codec", "h999"], 2, "h999"),
        (["-o", "o.xyz"], 2, "xyz"),
        (["-o", "o.mp4", "--tyle", "0"], 2, "--tyle"),
    ],
)
def test_bad_words_get_one_line_and_their_exit_code(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, text: str
) -> None:
    clip = make_clip(count=1)
    monkeypatch.chdir(tmp_path)
    result = fmanet("restore", clip, *words)
    assert result.exit_code == code, result.output
    assert text in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4"]


def test_missing_and_unreadable_inputs_exit_3(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    for name in ("missing.mp4", "empty.mp4"):
        result = fmanet("restore", tmp_path / name, "-o", tmp_path / "o.mp4", "--model", weights)
        assert result.exit_code == 3
        assert name in result.stderr
        assert not (tmp_path / "o.mp4").exists()


def test_ctrl_c_says_how_to_go_on(
    make_clip: MakeClip, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["restore", make_clip(count=20), "-o", tmp_path / "sharp.mp4", "--model", weights, "--precision", "fp32"]
    window, calls = StreamingRunner.window, []

    def press_ctrl_c(self: StreamingRunner, states: object) -> object:
        calls.append(0)
        if len(calls) == 16:
            raise KeyboardInterrupt
        return window(self, states)

    monkeypatch.setenv("FMANET_RESTORE_SEGMENT_FRAMES", "8")
    monkeypatch.setattr(StreamingRunner, "window", press_ctrl_c)
    result = fmanet(*words)
    assert result.exit_code == 130
    kept = f"15 frames of {tmp_path / 'sharp.mp4'} are kept, run the same command again to go on"
    assert result.stderr.splitlines()[-1] == f"interrupted: {kept}"
    assert not (tmp_path / "sharp.mp4").exists()
    monkeypatch.setattr(StreamingRunner, "window", window)
    refused = fmanet(*words, "--crf", 30)
    assert refused.exit_code == 2
    assert "options.encoder.crf was None and is 30.0" in refused.stderr.splitlines()[-1]
    result = fmanet(*words)
    assert result.exit_code == 0, result.output
    assert count_frames(tmp_path / "sharp.mp4") == 20
    assert re.search(r"frames +20 .*, 15 of them from an interrupted run", result.stderr)
