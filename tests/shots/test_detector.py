"""Cuts are found, flashes, fades and pans are not, and no window reaches across a cut."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import OptionError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.shots.detector import LOOK_AHEAD, ShotMarker, detect_cuts, read_cuts
from fmanet_cli.shots.thumbnails import plain_difference, thumbnail, unexplained_difference
from fmanet_cli.video.frames import Frame

HEIGHT, WIDTH = 72, 128


def scene(count: int, *, seed: int, speed_pixels: int = 1, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(count, H, W, 3): a random landscape of soft blobs that moves to the left, with a little noise."""
    rng = np.random.default_rng(seed)
    wide = width + speed_pixels * count
    coarse = rng.uniform(0.1, 0.9, (height // 8 + 2, wide // 8 + 2, 3))
    image = np.repeat(np.repeat(coarse, 8, axis=0), 8, axis=1)
    for axis in (0, 1):
        image = sum(np.roll(image, shift, axis) for shift in range(-3, 4)) / 7
    starts = range(0, speed_pixels * count, speed_pixels) if speed_pixels else [0] * count
    views = np.stack([image[4 : 4 + height, 4 + start : 4 + start + width] for start in starts])
    return np.clip(views + rng.normal(0, 0.01, views.shape), 0, 1)


def frames_of(*scenes: np.ndarray) -> list[Frame]:
    images = np.concatenate(scenes).astype(np.float32)
    return [Frame(image, pts=index, time_base=Fraction(1, 24)) for index, image in enumerate(images)]


def cuts_in(frames: Iterable[Frame], **options: float) -> list[int]:
    return [frame.pts for frame in detect_cuts(frames, **options) if frame.starts_shot]


def test_hard_cuts_are_found_where_they_are() -> None:
    frames = frames_of(scene(7, seed=1), scene(5, seed=2), scene(3, seed=3), scene(9, seed=4))
    marked = list(detect_cuts(iter(frames)))
    assert [frame.pts for frame in marked if frame.starts_shot] == [7, 12, 15]
    assert [frame.pts for frame in marked] == list(range(24))
    assert all(new.image is old.image for new, old in zip(marked, frames, strict=True))


def test_a_cut_between_scenes_of_the_same_luma_is_found() -> None:
    first = scene(8, seed=1)
    second = np.zeros_like(scene(8, seed=2)) + first.mean(axis=(1, 2))[-1]
    second += (scene(8, seed=2) - 0.5) * [0.6, 0, 0]
    second[..., 1] -= (second @ [0.299, 0.587, 0.114] - first[-1] @ [0.299, 0.587, 0.114]) / 0.587
    frames = frames_of(first, np.clip(second, 0, 1))
    luma = [frame.image @ np.float32([0.299, 0.587, 0.114]) for frame in frames]
    assert np.abs(luma[8] - luma[7]).mean() < 0.02
    assert cuts_in(frames) == [8]


def test_dark_cuts_are_found() -> None:
    assert cuts_in(frames_of(scene(8, seed=1) * 0.2, scene(8, seed=2) * 0.2)) == [8]


@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("kind", ["white", "brighter", "black", "negative"])
def test_flashes_are_no_cuts(kind: str, length: int) -> None:
    images = scene(20, seed=5)
    flash = images[9 : 9 + length]
    images[9 : 9 + length] = {
        "white": 1 - 0.1 * (1 - flash),
        "brighter": np.clip(flash * 2 + 0.1, 0, 1),
        "black": flash * 0.05,
        "negative": 1 - flash,
    }[kind]
    assert cuts_in(frames_of(images)) == []


@pytest.mark.parametrize("length", [4, 8, 16])
def test_fades_are_no_cuts(length: int) -> None:
    share = (np.arange(1, length + 1) / (length + 1))[:, None, None, None]
    first, second = scene(8 + length, seed=1), scene(8 + length, seed=2)
    dissolve = first[8:] * (1 - share) + second[:length] * share
    assert cuts_in(frames_of(first[:8], dissolve, second[length:])) == []
    black = np.zeros((3, HEIGHT, WIDTH, 3))
    assert cuts_in(frames_of(first[:8], first[8:] * (1 - share), black, second[:length] * share)) == []


def test_a_frame_missing_in_a_fade_is_no_cut() -> None:
    share = np.array([0, 0, 0, 0, 1, 2, 3, 5, 6, 7, 7, 7, 7])[:, None, None, None] / 7
    assert cuts_in(frames_of(scene(13, seed=1) * (1 - share) + scene(13, seed=2) * share)) == []


def test_a_fade_from_black_that_slows_down_is_no_cut() -> None:
    share = np.array([0, 0, 0, 0, 35, 65, 95, 100, 100, 100])[:, None, None, None] / 100
    assert cuts_in(frames_of(scene(10, seed=1) * share)) == []


@pytest.mark.parametrize("speed_pixels", [3, 8, 12])
def test_fast_pans_are_no_cuts_but_cuts_beside_them_are(speed_pixels: int) -> None:
    pan = scene(12, seed=6, speed_pixels=speed_pixels)
    assert cuts_in(frames_of(pan)) == []
    assert cuts_in(frames_of(scene(8, seed=7), scene(12, seed=6, speed_pixels=speed_pixels), scene(8, seed=8))) == [
        8,
        20,
    ]


def test_a_caption_is_no_cut() -> None:
    images = scene(20, seed=9)
    images[10:, 52:68, 16:112] = 0.95
    assert cuts_in(frames_of(images)) == []


def test_repeated_frames_are_no_cuts() -> None:
    assert cuts_in(frames_of(np.repeat(scene(8, seed=9, speed_pixels=6), 3, axis=0))) == []


def test_noise_on_black_is_no_cut() -> None:
    noise = np.random.default_rng(0).uniform(0, 0.01, (12, HEIGHT, WIDTH, 3))
    assert cuts_in(frames_of(noise)) == []


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 2), (9, 200), (64, 36), (65, 129)])
def test_any_size(height: int, width: int) -> None:
    rng = np.random.default_rng(1)
    first, second = rng.uniform(0, 0.3, (2, 1, height, width, 3)) + np.array([0, 0.5])[:, None, None, None, None]
    assert cuts_in(frames_of(*[first] * 6, *[second] * 6)) == [6]


def test_a_larger_threshold_finds_fewer() -> None:
    frames = frames_of(scene(8, seed=1), scene(8, seed=1) * 0.5 + scene(8, seed=2) * 0.5)
    assert cuts_in(frames) == [8]
    assert cuts_in(frames, threshold=1.5) == []


def test_only_a_few_frames_are_read_ahead() -> None:
    taken = []

    def source():
        for frame in frames_of(scene(10, seed=1)):
            taken.append(frame.pts)
            yield frame

    marked = detect_cuts(source())
    assert next(marked).pts == 0
    assert taken == list(range(LOOK_AHEAD + 1))


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_short_streams(count: int) -> None:
    assert [frame.pts for frame in detect_cuts(frames_of(scene(4, seed=1))[:count])] == list(range(count))


def test_a_frame_is_averaged_into_square_cells() -> None:
    image = np.zeros((45, 130, 3), np.float32)
    image[:2, 2:4] = [1, 0.5, 0]
    small = thumbnail(image)
    assert small.cells.shape == (22, 65, 3)
    luma = 0.299 + 0.5 * 0.587
    assert small.cells[0, 1].tolist() == [
        round(value * 255) for value in (luma, 0.5 - 0.564 * luma, 0.5 + 0.713 * (1 - luma))
    ]
    assert small.cells[0, 0].tolist() == [0, 128, 128]


def test_shifts_are_explained_and_other_scenes_are_not() -> None:
    pan = [thumbnail(image) for image in frames_of(scene(3, seed=1, speed_pixels=8)) for image in [image.image]]
    other = thumbnail(frames_of(scene(1, seed=2))[0].image)
    assert unexplained_difference(pan[1], pan[0]) < 0.2 * plain_difference(pan[1], pan[0])
    assert unexplained_difference(other, pan[0]) > 0.4 * plain_difference(other, pan[0])
    assert unexplained_difference(pan[0], pan[0]) == 0


def test_frames_beside_a_cut_equal_those_of_the_halves_alone(tiny_model: FMANet) -> None:
    restorer = Restorer(tiny_model, device="cpu", precision="fp32")
    halves = scene(5, seed=1, height=24, width=32), scene(4, seed=2, height=24, width=32)
    apart = [frame.image for half in halves for frame in restorer.restore(frames_of(half))]
    marked = list(restorer.restore(detect_cuts(frames_of(*halves))))
    assert [frame.starts_shot for frame in marked] == [index == 5 for index in range(9)]
    np.testing.assert_array_equal([frame.image for frame in marked], apart)
    mixed = [frame.image for frame in restorer.restore(frames_of(*halves))]
    different = [index for index in range(9) if not np.array_equal(mixed[index], apart[index])]
    assert different == [4, 5]


def by_list(cuts: str, folder: Path) -> ShotMarker:
    path = folder / "cuts.txt"
    path.write_text(cuts.replace(" ", "\n"))
    return ShotMarker(str(path))


def test_shots_of_one_frame_are_restored_alone(tmp_path: Path, tiny_model: FMANet) -> None:
    restorer = Restorer(tiny_model, device="cpu", precision="fp32")
    frames = frames_of(scene(3, seed=1, height=24, width=32))
    marked = [frame.image for frame in restorer.restore(by_list("1 2", tmp_path).mark(frames))]
    alone = [next(restorer.restore([frame])).image for frame in frames]
    np.testing.assert_array_equal(marked, alone)


def test_listed_cuts_are_marked(tmp_path: Path) -> None:
    marked = by_list("0 2 4 9", tmp_path).mark(frames_of(scene(5, seed=1)))
    assert [frame.starts_shot for frame in marked] == [False, False, True, False, True]


def test_a_list_of_cuts_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cuts.txt"
    path.write_bytes(b"\xef\xbb\xbf 12 \r\n\r\n7\n12\n")
    assert read_cuts(path) == {7, 12}
    path.write_text("")
    assert read_cuts(path) == set()


@pytest.mark.parametrize("word", ["-3", "12f", "1.5", "1_0", "two", "９", "1" * 5000])
def test_bad_lines_are_named(tmp_path: Path, word: str) -> None:
    path = tmp_path / "cuts.txt"
    path.write_text(f"4\n\n{word}\n", encoding="utf-8")
    with pytest.raises(OptionError, match=r"cuts\.txt, line 3: .* is no frame number; give the first frame"):
        read_cuts(path)


def test_unreadable_lists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"cannot read the list of cuts .*none\.txt: No such file"):
        read_cuts(tmp_path / "none.txt")
    (tmp_path / "cuts.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OptionError, match=r"cannot read the list of cuts .*cuts\.txt: line 1 is no text in UTF-8"):
        read_cuts(tmp_path / "cuts.txt")


def test_shots_are_counted(tmp_path: Path) -> None:
    frames = frames_of(scene(6, seed=1), scene(6, seed=2))
    (tmp_path / "cuts.txt").write_text("0\n3\n12\n40\n")
    found = {}
    for scene_detect in ("auto", "off", str(tmp_path / "cuts.txt")):
        marker = ShotMarker(scene_detect)
        marks = [frame.pts for frame in marker.mark(frames) if frame.starts_shot]
        found[Path(scene_detect).name] = marks, marker.shots, [warning[:25] for warning in marker.warnings]
    assert found == {
        "auto": ([6], 2, []),
        "off": ([], None, []),
        "cuts.txt": ([3], 2, ["2 of the cuts in " + str(tmp_path)[:8]]),
    }


@pytest.mark.parametrize("threshold", [0, -1, float("nan"), float("inf")])
def test_impossible_thresholds_are_refused(threshold: float) -> None:
    with pytest.raises(OptionError, match=r"scene threshold must be a positive number such as 0\.25, got"):
        ShotMarker(threshold=threshold)
