"""Windows from photographs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from fmanet_cli.dataset.imaging.mixture import Mixture, clean_mixture
from fmanet_cli.dataset.resampling import enlarge_batch
from fmanet_cli.errors import TrainingError
from fmanet_cli.model.filtering import backward_warp
from fmanet_cli.training.motion import MotionRange
from fmanet_cli.training.photo_library import PhotoLibrary, load_photos
from fmanet_cli.training.photos import PhotoOptions, PhotoWindows
from fmanet_cli.training.validation import psnrs
from fmanet_cli.training.windows import downscale_window
from fmanet_cli.video.read.images import write_image


def photo(seed: int, side: int = 260) -> torch.Tensor:
    """A photograph-like (3, side, side) uint8 image: detail at several scales."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(1, 3, side, side)
    for cells in (8, 24, 64):
        coarse = torch.rand(1, 3, cells, cells, generator=generator)
        image += torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    return (image[0] / 3 * 255).clamp(0, 255).to(torch.uint8)


CLEAN = clean_mixture()
NEVER_STILL = {"still_share": 0.0, "motion": MotionRange(slowest=10.0, fastest=12.0, still_share=0.0)}


def windows(*, seed: int = 3, **options: object) -> PhotoWindows:
    settings = PhotoOptions(**{"window_pixels": 16, "batch_windows": 4, "scales": (0.8, 1.0), **options})
    return PhotoWindows(PhotoLibrary([photo(seed) for seed in range(3)]), settings, seed=seed)


def test_a_batch_depends_on_seed_and_number_alone():
    first, again, other = windows().batch(5), windows().batch(5), windows().batch(6)
    for name in ("blurry", "sharp", "flow", "flow_valid", "blurry_clean"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.blurry, other.blurry)
    assert first.blurry.shape == (4, 3, 3, 16, 16)
    assert first.sharp.shape == (4, 3, 3, 64, 64)


def test_flow_of_the_middle_frame_is_zero_and_flow_warps_the_neighbours_onto_it():
    source = windows(motion=MotionRange(slowest=6.0, fastest=12.0, still_share=0.0), batch_windows=6, still_share=0.0)
    batch = source.batch(1)
    assert torch.equal(batch.flow[:, :, 1], torch.zeros_like(batch.flow[:, :, 1]))
    assert torch.equal(batch.flow_valid[:, :, 1], torch.ones_like(batch.flow_valid[:, :, 1]))
    small = downscale_window(batch.sharp)
    for neighbour in (0, 2):
        seen = batch.flow_valid[:, :, neighbour]
        warped = backward_warp(small[:, :, neighbour], batch.flow[:, :, neighbour])
        unaligned = ((small[:, :, neighbour] - small[:, :, 1]).abs() * seen).sum()
        aligned = ((warped - small[:, :, 1]).abs() * seen).sum()
        assert float(seen.mean()) > 0.5
        assert float(aligned) < 0.35 * float(unaligned)


def test_without_motion_the_blurry_frame_is_the_shrunk_sharp_one():
    still = windows(still_share=1.0, mixture=CLEAN).batch(0)
    assert float((still.blurry - downscale_window(still.sharp)).abs()[..., 2:-2, 2:-2].max()) <= 0.5 / 255 + 1e-3
    assert torch.equal(still.flow, torch.zeros_like(still.flow))


def test_moving_but_sharp_windows_are_the_shrunk_sharp_ones_too():
    moving = windows(**NEVER_STILL, exposures=((1.0, 0.0, 0.0),), mixture=CLEAN).batch(0)
    assert float(moving.flow.abs().amax((1, 2, 3, 4)).min()) > 1
    assert float((moving.blurry - downscale_window(moving.sharp)).abs()[..., 2:-2, 2:-2].max()) <= 0.5 / 255 + 1e-3


def test_longer_exposure_blurs_more():
    gains = []
    for exposure in (0.05, 0.9):
        batch = windows(**NEVER_STILL, exposures=((1.0, exposure, exposure),), mixture=CLEAN).batch(2)
        gains.append(np.mean(psnrs(enlarge_batch(batch.blurry[:, :, 1]), batch.sharp[:, :, 1])))
    assert gains[0] > gains[1] + 0.5


def test_the_camera_spoils_what_the_network_sees_and_neither_truth_nor_the_rebuilt_frame():
    batch = windows(mixture=Mixture(shares={"phone": 1.0}), exposures=((1.0, 0.0, 0.0),), still_share=1.0).batch(4)
    assert batch.blurry_clean is not None
    spoilt = (batch.blurry - batch.blurry_clean).abs().mean((1, 2, 3, 4)) * 255
    assert int((spoilt > 0.5).sum()) >= 3
    # A clean frame lies on the truth: nothing has been shifted by the crop out of the coded frame.
    enlarged, sharp = enlarge_batch(batch.blurry_clean[:, :, 1]), batch.sharp[:, :, 1]
    for shift in (-4, 4):
        assert np.less(psnrs(enlarged, sharp.roll(shift, -1)), psnrs(enlarged, sharp)).all()


def test_exposures_come_in_their_shares_whatever_the_speed():
    source = windows()
    drawn = [source._draw_filming(np.random.default_rng(10_000 + seed)).exposures for seed in range(500)]
    means = np.array([exposures.mean() for exposures in drawn])
    for share, low, high in source.options.exposures:
        assert np.mean((means > low) & (means <= high)) == pytest.approx(share, abs=0.07)
    assert np.mean([np.ptp(exposures) > 0 for exposures in drawn]) == pytest.approx(0.2, abs=0.06)


def test_flat_places_are_not_shown_unless_asked_for():
    half_flat = photo(1)
    half_flat[:, :, :150] = 128
    library = PhotoLibrary([half_flat])
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        assert float(library.draw(80, (1.0, 1.0), generator).std(axis=(0, 1)).min()) > 0.02


def test_a_share_of_the_pieces_lies_anywhere():
    half_flat = photo(7, side=512)
    half_flat[:, :, :256] = 128
    library = PhotoLibrary([half_flat])
    generator = torch.Generator().manual_seed(0)
    spreads = [library.draw(64, (1.0, 1.0), generator, anywhere_share=0.5).std() for _ in range(400)]
    # Of 16 columns of places, 7 show the flat half alone.
    assert np.mean(np.array(spreads) == 0.0) == pytest.approx(0.5 * 7 / 16, abs=0.06)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder.stat(), "no photographs in .*; it needs files ending in .bmp, .jpeg, .jpg"),
        (lambda folder: (folder / "a.jpg").write_bytes(b"no image"), "cannot read the photograph .*a.jpg"),
        (
            lambda folder: write_image(folder / "a.png", np.random.default_rng(0).random((40, 300, 3), np.float32)),
            "all 1 photographs in .* are smaller than 200 pixels; use larger ones",
        ),
        (
            lambda folder: write_image(folder / "a.png", np.full((220, 220, 3), 0.5, np.float32)),
            "all 1 photographs in .* are flat",
        ),
    ],
)
def test_useless_folders_are_refused_in_one_line(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(TrainingError, match=message) as caught:
        load_photos(tmp_path, smallest_side=200)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="missing does not exist; give a folder or a zip file of photographs"):
        load_photos(tmp_path / "missing", smallest_side=200)
    if Path("/dev/full").exists():
        with pytest.raises(TrainingError, match="/dev/full: it is no regular file"):
            load_photos("/dev/full", smallest_side=16)
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(TrainingError, match=r"cannot read photographs from .*text\.zip"):
        load_photos(tmp_path / "text.zip", smallest_side=200)


def test_a_packed_library_equals_its_folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(3):
        write_image(tmp_path / f"photos/{number}.png", np.random.default_rng(number).random((220, 230, 3), np.float32))
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as packed:
        for path in sorted((tmp_path / "photos").iterdir(), reverse=True):
            packed.write(path, f"photos/{path.name}")
        packed.writestr("LICENSES.txt", "CC0")
    folder, pack = (load_photos(tmp_path / name, smallest_side=200) for name in ("photos", "photos.zip"))
    assert len(folder) == 3
    for mine, theirs in zip(folder.photos, pack.photos, strict=True):
        assert torch.equal(mine, theirs)
    for name in ("photos", "photos.zip"):
        load_photos(tmp_path / name, smallest_side=200, favoured={"1.png": 0.5})


def grey_photos(levels: list[int]) -> list[torch.Tensor]:
    """Photographs that are told apart by their mean: a fine checkerboard around each level."""
    board = 8 * (torch.arange(64)[:, None] + torch.arange(64)).remainder(2) - 4
    return [(board + level).to(torch.uint8).expand(3, -1, -1).contiguous() for level in levels]


def test_favoured_photographs_get_their_share():
    names = ["face-1.jpg", "face-2.jpg", "tree.jpg", "sign.jpg", "wall.jpg"]
    levels = [40, 80, 120, 160, 200]
    library = PhotoLibrary(grey_photos(levels), names=names, favoured={"face-*": 0.3, "s*": 0.1})
    generator = torch.Generator().manual_seed(4)
    draws = 2000
    shown = np.array([round(library.draw(32, (1.0, 1.0), generator).mean() * 255) for _ in range(draws)])
    shares = [float(np.mean(np.abs(shown - level) < 10)) for level in levels]
    assert shares == pytest.approx([0.15, 0.15, 0.3, 0.1, 0.3], abs=0.03)


def test_without_favour_every_photograph_is_drawn_as_before():
    generators = [torch.Generator().manual_seed(5) for _ in range(2)]
    plain = PhotoLibrary(grey_photos([50, 150]))
    even = PhotoLibrary(grey_photos([50, 150]), names=["a.jpg", "b.jpg"], favoured={"a.jpg": 0.5})
    for _ in range(20):
        pieces = [
            library.draw(32, (1.0, 1.0), generator)
            for library, generator in zip((plain, even), generators, strict=True)
        ]
        assert np.array_equal(*pieces)


@pytest.mark.parametrize(
    ("favoured", "message"),
    [
        ({"portrait-*": 0.1}, r"no photograph whose name fits 'portrait-\*' is large enough and has detail"),
        ({"[0-9].png": 0.1}, "no photograph besides those that are favoured is large enough"),
    ],
)
def test_a_favour_that_no_photograph_can_do_is_refused(tmp_path, favoured, message):
    for number in range(2):
        write_image(tmp_path / f"{number}.png", np.random.default_rng(number).random((64, 64, 3), np.float32))
    load_photos(tmp_path, smallest_side=64, favoured={"[0-9].png": 1.0})
    with pytest.raises(TrainingError, match=message):
        load_photos(tmp_path, smallest_side=64, favoured=favoured)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 2}, "frames must be odd and at most 7, got 2"),
        ({"exposures": ((1.0, 0.5, 1.5),)}, "exposures must be shares and ranges inside 0 to 1"),
        ({"scales": (0.0, 1.0)}, "scales must be a range above 0"),
        ({"anywhere_share": 1.1}, "anywhere_share must be from 0 to 1"),
        ({"window_pixels": 4}, "window_pixels must be even and at least 8, got 4"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PhotoOptions(**options)
