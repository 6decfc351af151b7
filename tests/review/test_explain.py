"""One frame from inside the network: documented shapes, the network's own numbers, and blur that was put in."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fmanet_cli.errors import DeviceError, OptionError
from fmanet_cli.model.fmanet import FMANet, random_model
from fmanet_cli.review import explain as explain_module
from fmanet_cli.review import explain_sheet
from fmanet_cli.review.blur import blur_of_kernel
from fmanet_cli.review.explain import explain
from fmanet_cli.review.explain_sheet import explanation_sheet
from fmanet_cli.review.flow_colours import colour_wheel, flow_to_rgb
from fmanet_cli.review.moments import window_at
from fmanet_cli.video.read.images import read_image
from support.command_line import fmanet

FRAMES = np.random.default_rng(2).random((3, 14, 18, 3), dtype=np.float32)


def line_kernel(length: float, degrees: float, side: int = 31) -> np.ndarray:
    """A line of light through the middle, each of its points shared by four pixels."""
    kernel = np.zeros((side, side))
    for along in np.linspace(-length / 2, length / 2, 401):
        x = side // 2 + along * np.cos(np.radians(degrees))
        y = side // 2 - along * np.sin(np.radians(degrees))
        left, top = int(x), int(y)
        shares = np.outer([top + 1 - y, y - top], [left + 1 - x, x - left])
        kernel[top : top + 2, left : left + 2] += shares
    return kernel


@pytest.mark.parametrize("length", [4, 10, 20])
@pytest.mark.parametrize("degrees", [0, 30, 90, 135])
def test_length_and_angle_of_a_known_kernel(length: float, degrees: float) -> None:
    for kernel in (line_kernel(length, degrees), cv2.GaussianBlur(line_kernel(length, degrees), (0, 0), 1.2)):
        blur = blur_of_kernel(kernel)
        assert blur.length == pytest.approx(length, rel=0.07, abs=0.3)
        assert abs((blur.angle - degrees + 90) % 180 - 90) < 3


def test_a_round_kernel_has_no_motion() -> None:
    kernel = np.outer(*[cv2.getGaussianKernel(21, 3)[:, 0]] * 2)
    assert blur_of_kernel(kernel).length < 0.1
    with pytest.raises(ValueError, match="not negative"):
        blur_of_kernel(-kernel)


def moving(length: float, degrees: float) -> np.ndarray:
    """(3, 48, 48, 3): a made-up scene of edges filmed by a camera that moves `length` restored pixels per exposure."""
    scene = np.random.default_rng(5).random((60, 60)).astype(np.float32)
    scene = cv2.resize(scene, (480, 480), interpolation=cv2.INTER_NEAREST)
    direction = np.array([np.cos(np.radians(degrees)), -np.sin(np.radians(degrees))]) * length
    frames = []
    for time in (-1, 0, 1):
        views = [
            cv2.getRectSubPix(scene, (192, 192), tuple(float(c) for c in 240 + direction * (time / 0.8 + moment)))
            for moment in np.linspace(-0.5, 0.5, 17)
        ]
        small = cv2.resize(np.mean(views, axis=0), (48, 48), interpolation=cv2.INTER_AREA)
        frames.append(np.repeat(small[..., None], 3, axis=2))
    return np.clip(np.stack(frames), 0, 1).astype(np.float32)


def test_lite_sees_how_far_and_where_the_camera_moved() -> None:
    from fmanet_cli.weights.checkpoint import load_model

    model = load_model("lite")
    points = [(x, y) for x in range(8, 48, 8) for y in range(8, 48, 8)]
    seen = {
        (length, degrees): explain(moving(length, degrees), model, points=points, device="cpu").degradation_kernels
        for length, degrees in ((0, 0), (12, 0), (12, 90))
    }
    mean = {case: blur_of_kernel(kernels.sum(axis=1).mean(axis=0)) for case, kernels in seen.items()}
    assert mean[12, 0].length > mean[0, 0].length + 1.5
    assert mean[12, 90].length > mean[0, 0].length + 1.5
    assert abs((mean[12, 0].angle + 90) % 180 - 90) < 20
    assert abs(mean[12, 90].angle - 90) < 20


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_the_arrays_are_the_networks_own(order: str, tiny_model: FMANet) -> None:
    model = random_model(tiny_model.config, seed=4)
    model.colour_order = order  # type: ignore[assignment]
    found = explain(FRAMES, model, points=[(0, 0), (17, 13)], device="cpu")
    assert found.flows.shape == (3, 2, 14, 18, 2)
    assert found.masks.shape == (3, 2, 14, 18)
    assert found.image_flow.shape == (3, 14, 18, 2)
    assert found.degradation_kernels.shape == (2, 3, 4, 4)
    assert found.restoration_kernels.shape == (2, 3, 4, 4, 3, 3)
    assert found.aligned_before.shape == found.aligned_after.shape == (6, 14, 18)
    assert np.allclose(found.degradation_kernels.sum(axis=(1, 2, 3)), 1, atol=1e-5)
    assert np.allclose(found.restoration_kernels.sum(axis=(1, 4, 5)), 1, atol=1e-5)
    assert np.allclose(found.masked, found.warped * found.image_mask[..., None], atol=1e-5)
    channels = slice(None, None, -1) if order == "bgr" else slice(None)
    window = torch.from_numpy(FRAMES[..., channels].transpose(3, 0, 1, 2).copy())[None]
    with torch.inference_mode():
        plain = model(window)[0].permute(1, 2, 0).numpy()[..., channels]
    assert np.abs(found.filtered + found.residual - plain).max() < 1e-5
    assert sum(found.shares) == pytest.approx(1, abs=1e-5)
    assert not any(module._forward_hooks for module in model.modules())


def test_the_restoration_kernels_rebuild_the_filtered_image(tiny_model: FMANet) -> None:
    found = explain(FRAMES, tiny_model, points=[(5, 7)], device="cpu")
    patches = found.masked[:, 6:9, 4:7]
    rebuilt = np.einsum("tyxc,tabyx->abc", patches, found.restoration_kernels[0])
    assert np.abs(rebuilt - found.filtered[28:32, 20:24]).max() < 1e-5


def test_what_cannot_be_explained(tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch) -> None:
    for frames in (FRAMES[:2], FRAMES[0], FRAMES.transpose(0, 3, 1, 2), FRAMES * 255):
        with pytest.raises(OptionError):
            explain(frames, tiny_model, device="cpu")
    with pytest.raises(OptionError, match="18,0 lies outside the frame of 18x14"):
        explain(FRAMES, tiny_model, points=[(18, 0)], device="cpu")
    monkeypatch.setattr(explain_module, "free_memory", lambda _: 1000)
    with pytest.raises(DeviceError, match="explain a part of the frame"):
        explain(FRAMES, tiny_model, device="cpu")


def test_colours_of_flow() -> None:
    right, up = flow_to_rgb(np.array([[3.0, 0.0], [0.0, -3.0]]), longest=3)
    assert right.tolist() == [1, 0, 0]
    assert up[1] == 1
    assert flow_to_rgb(np.zeros((2, 2, 2)), longest=1).min() == 1
    assert colour_wheel(21)[10, 20].argmax() == 0


def test_sheets_of_small_images_and_one_frame(tiny_model: FMANet) -> None:
    sheet = explanation_sheet(explain(FRAMES, tiny_model, device="cpu"), "a title – with letters the font lacks")
    assert np.isfinite(sheet).all()
    assert 0 <= sheet.min() < sheet.max() <= 1


def test_every_point_is_seen_in_the_dark(tiny_model: FMANet) -> None:
    places = [(x, y) for y in (3, 10) for x in (2, 8, 14)]
    found = explain(FRAMES, tiny_model, points=places, device="cpu")
    marked = explain_sheet._with_points(np.zeros((56, 72, 3), np.float32), found)
    for x, y in places:
        around = marked[4 * y - 6 : 4 * y + 10, max(4 * x - 6, 0) : 4 * x + 10]
        assert (around.min(axis=-1) > 0.9).any(), (x, y)


def test_the_command_writes_image_and_arrays(make_clip, tmp_path: Path) -> None:
    clip = make_clip()
    result = fmanet("explain", clip, "--at", 0.1, "--npz", tmp_path / "a.npz", "--point", "3,4", "--crop", "2,2,20,16")
    assert result.exit_code == 0, result.output
    assert "at 3,4: the kernel tells a blur of" in result.stdout
    assert read_image(tmp_path / "clip_explained.png").shape[1] > 1000
    arrays = np.load(tmp_path / "a.npz")
    assert arrays["window"].shape == (3, 16, 20, 3)
    assert {"flows", "masks", "degradation_kernels", "restored", "shares", "blurs"} <= set(arrays)
    again = fmanet("explain", clip)
    assert (again.exit_code, "exists" in again.stderr) == (2, True)
    for words in (("-o", tmp_path / "none/a.png"), ("--npz", tmp_path / "none/a.npz")):
        assert fmanet("explain", clip, "-y", *words).exit_code == 7, words
    for words in (("--at", 9), ("--at", -1), ("--point", "x"), ("--crop", "0,0,99,9"), ("-o", "a.jpg")):
        assert fmanet("explain", clip, "-y", *words).exit_code == 2, words


def test_windows_are_those_of_a_run(make_clip) -> None:
    clip = make_clip(count=5)
    times = [[round(frame.seconds * 240) for frame in window_at(clip, at, 1)] for at in (0, 0.1, 0.2)]
    assert times == [[11, 0, 11], [11, 22, 30], [30, 41, 30]]
