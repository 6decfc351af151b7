"""The content of an output: good frames pass, however much was restored; broken ones do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from fmanet_cli.cli.main import main
from fmanet_cli.verify.compare import Expectation, verify
from fmanet_cli.verify.likeness import PSNR_FLOOR, SAMPLES, Originals, likeness
from fmanet_cli.verify.result import Verdict
from fmanet_cli.video.frames import Frame, VideoInfo
from fmanet_cli.video.pixels.colour import Colour
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.read.sampled import sampled_images
from fmanet_cli.video.write.codecs import EncoderOptions
from fmanet_cli.video.write.planning import plan_output
from fmanet_cli.video.write.writer import VideoWriter
from support.tampering import enlarged_copy

COUNT, HEIGHT, WIDTH = 14, 72, 96
LOSSLESS = EncoderOptions(codec="libx264", crf=1, preset="ultrafast")


def scene(index: int, scale: int = 1) -> np.ndarray:
    """Coloured patches under a camera that moves four source pixels a frame."""
    large = np.random.default_rng(7).random((30, 40, 3)).astype(np.float32)
    large = cv2.resize(large, (320 * scale, 240 * scale), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    left, top = 4 * index * scale, 2 * index * scale
    return np.ascontiguousarray(large[top : top + HEIGHT * scale, left : left + WIDTH * scale])


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    like = VideoInfo(
        path="made",
        height=HEIGHT,
        width=WIDTH,
        time_base=Fraction(1, 24),
        frame_rate=Fraction(24),
        colour=Colour(matrix=1, full_range=False),
    )
    with VideoWriter(tmp_path / "a.mp4", like=like, scale=1, encoder=LOSSLESS) as writer:
        for index in range(COUNT):
            writer.write(Frame(scene(index), pts=index, time_base=Fraction(1, 24), duration=1))
    return tmp_path / "a.mp4"


def verdict(clip: Path, change: Callable[[list[Frame]], list[Frame]]) -> tuple[Verdict, str]:
    copy = clip.with_name("b.mkv")
    enlarged_copy(clip, copy, change=change, encoder=LOSSLESS)
    row = next(row for row in verify(clip, copy, expectation=Expectation(scale=2)).rows if row.what == "pictures")
    return row.verdict, row.output


def each(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[list[Frame]], list[Frame]]:
    return lambda frames: [replace(frame, image=change(frame.image).astype(np.float32)) for frame in frames]


def of_frame(numbers: Callable[[int], int]) -> Callable[[list[Frame]], list[Frame]]:
    return lambda frames: [replace(frame, image=frames[numbers(i)].image) for i, frame in enumerate(frames)]


GOOD = {
    "enlarged": each(lambda image: image),
    "sharp": lambda frames: [replace(frame, image=scene(i, 2)) for i, frame in enumerate(frames)],
    "sharpened": each(lambda image: (2 * image - cv2.GaussianBlur(image, (0, 0), 3)).clip(0, 1)),
    "noisy": each(lambda image: (image + np.random.default_rng(0).normal(0, 0.1, image.shape)).clip(0, 1)),
    "brighter": each(lambda image: (image * 1.08).clip(0, 1)),
}

BAD = {
    "green": each(lambda image: image * np.array([0, 1, 0], np.float32)),
    "black": each(lambda image: image * 0),
    "grey": each(lambda image: image * 0 + 0.5),
    "tiled": each(lambda image: np.tile(cv2.resize(image, (WIDTH * 2 // 3, HEIGHT * 2 // 3)), (3, 3, 1))),
    "pixelated": each(lambda image: cv2.resize(cv2.resize(image, (10, 8), interpolation=3), image.shape[1::-1])),
    "moved": each(lambda image: np.roll(image, 8, axis=1)),
    "red and blue swapped": each(lambda image: image[..., ::-1]),
    "upside down": each(lambda image: image[::-1]),
    "frozen": of_frame(lambda index: min(index, 5)),
    "swapped": of_frame(lambda index: min(index ^ 1, COUNT - 1)),
    "late": of_frame(lambda index: max(index - 1, 0)),
}


@pytest.mark.parametrize("change", GOOD.values(), ids=GOOD)
def test_good_frames_pass(change: Callable, clip: Path) -> None:
    found, said = verdict(clip, change)
    assert found is Verdict.SAME, said


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_broken_frames_do_not(change: Callable, clip: Path) -> None:
    found, said = verdict(clip, change)
    assert found is Verdict.DIFFERS, said
    assert "frame" in said


def test_chance_does_not_decide_in_flat_images() -> None:
    rng = np.random.default_rng(3)
    flat = np.full((64, 64, 3), 0.5, np.float32)
    flat[:5] += 0.02
    source = {number: flat + rng.normal(0, 0.002, flat.shape).astype(np.float32) for number in range(3)}
    found = likeness(1, source[2] + np.roll(flat, 1, axis=0) - flat, source)
    assert found.psnr > 38
    assert found.fault == ""


def test_one_broken_frame_is_named(clip: Path) -> None:
    number = passed(clip, COUNT).places()[3]
    change = lambda frames: [replace(f, image=f.image * (i != number)) for i, f in enumerate(frames)]  # noqa: E731
    found, said = verdict(clip, change)
    assert (found, said.split(" at ")[0]) == (Verdict.DIFFERS, f"frame {number}")


def test_the_command_refuses_a_green_film(clip: Path) -> None:
    enlarged_copy(clip, clip.with_name("b.mp4"), change=BAD["green"])
    result = CliRunner().invoke(main, ["verify", str(clip), str(clip.with_name("b.mp4")), "--scale", "2"])
    assert result.exit_code == 6
    assert f"{PSNR_FLOOR:g} dB or more when scaled back became frame 0 at" in result.stderr
    quick = CliRunner().invoke(main, ["verify", str(clip), str(clip.with_name("b.mp4")), "--scale", "2", "--quick"])
    assert quick.exit_code == 0


@pytest.mark.parametrize(("count", "places"), [(1, [0]), (5, [0, 1, 2, 3, 4]), (30, [*range(0, 29, 4), 29])])
def test_places_that_are_looked_at(clip: Path, count: int, places: list[int]) -> None:
    originals = passed(clip, count)
    assert originals.places() == places
    near = {number: list(originals.near(number)) for number in places}
    assert near == {n: [other for other in (n - 1, n, n + 1) if 0 <= other < count] for n in places}


def test_a_long_film_is_kept_in_few_images(clip: Path) -> None:
    originals = passed(clip, 1000)
    assert originals.places() == [*range(0, 1000, 128), 999]
    kept = {other: image for number in range(1000) for other, image in originals.near(number).items()}
    assert len(kept) <= 3 * SAMPLES + 3
    assert all(round(float(image[0, 0, 0]) * 255) == number % 256 for number, image in kept.items())


def passed(clip: Path, count: int) -> Originals:
    """What is kept when frames pass that are as bright as their numbers say."""
    with VideoReader(clip) as reader:
        like = reader.info
    originals = Originals(plan_output(clip.with_name("b.mkv"), like=like, scale=1))
    for number in range(count):
        originals.note(np.full((HEIGHT, WIDTH, 3), number % 256 / 255, np.float32))
    return originals


def test_sampled_images_are_the_readers(clip: Path) -> None:
    with VideoReader(clip) as reader:
        images = [frame.image for frame in reader]
        found = dict(sampled_images(reader.info, [3, 0, 13, 99]))
    assert list(found) == [0, 3, 13]
    assert all(np.array_equal(image, images[number]) for number, image in found.items())


@pytest.mark.parametrize(("side", "fault"), [(2, ""), (32, "frame 0")])
def test_an_image_of_one_colour_under_the_blur_is_not_told_from_its_neighbours(side: int, fault: str) -> None:
    """Of 2x2 pixels a coder moves the only colour by more than one frame moves it."""
    originals = {number: np.full((side, side, 3), 0.5 + 0.1 * number, np.float32) for number in range(2)}
    found = likeness(1, np.full((side, side, 3), 0.53, np.float32), originals)
    assert found.fault == (f"frame 1 shows {fault}" if fault else "")
