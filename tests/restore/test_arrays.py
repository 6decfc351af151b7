"""Frames in an array: the same library, dtype and layout out, and a clear refusal of anything else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fmanet_cli.engine.restorer import Restorer
from fmanet_cli.errors import FmanetError, OptionError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.restore.arrays import restore_frames

FRAMES = np.random.default_rng(1).integers(0, 256, (4, 12, 16, 3), dtype=np.uint8)


def on_cpu(model: FMANet) -> Restorer:
    return Restorer(model, device="cpu", precision="fp32")


def test_the_same_comes_out_in_every_library_and_dtype(tiny_model: FMANet) -> None:
    restorer = on_cpu(tiny_model)
    exact = restore_frames(FRAMES / np.float32(255), restorer)
    assert (exact.shape, exact.dtype) == ((4, 48, 64, 3), np.float32)
    assert 0 <= exact.min() < exact.max() <= 1
    coded = restore_frames(FRAMES, restorer)
    assert (coded.shape, coded.dtype) == ((4, 48, 64, 3), np.uint8)
    assert np.array_equal(coded, np.rint(exact * 255).astype(np.uint8))
    for dtype, closeness in ((torch.float16, 2e-3), (torch.float32, 1e-6), (torch.float64, 1e-6)):
        given = torch.from_numpy(FRAMES).to(dtype) / 255
        tensor = restore_frames(given, restorer)
        assert tensor.dtype == dtype
        assert float((tensor.double() - torch.from_numpy(exact).double()).abs().max()) < closeness
    assert torch.equal(restore_frames(torch.from_numpy(FRAMES), restorer), torch.from_numpy(coded))


def test_it_is_what_the_plain_network_gives_for_a_window(tiny_model: FMANet) -> None:
    whole = restore_frames(FRAMES[:3] / np.float32(255), on_cpu(tiny_model))
    window = torch.from_numpy(FRAMES[:3] / np.float32(255)).permute(3, 0, 1, 2)[None]
    with torch.inference_mode():
        plain = tiny_model(window)[0].clamp(0, 1).permute(1, 2, 0).numpy()
    assert np.abs(whole[1] - plain).max() < 1e-4


def test_views_that_are_not_contiguous_and_single_frames(tiny_model: FMANet) -> None:
    restorer = on_cpu(tiny_model)
    turned = FRAMES[:, :, ::-1]
    assert np.array_equal(restore_frames(turned, restorer), restore_frames(turned.copy(), restorer))
    assert restore_frames(FRAMES[:1], restorer).shape == (1, 48, 64, 3)
    assert restore_frames(FRAMES[:, :1, :1], restorer).shape == (4, 4, 4, 3)


def test_a_share_of_the_networks_frame(tiny_model: FMANet) -> None:
    frames, restorer = FRAMES / np.float32(255), on_cpu(tiny_model)
    full, none, half = (restore_frames(frames, restorer, strength=strength) for strength in (1, 0, 0.5))
    assert np.abs(half - (full + none) / 2).max() < 1e-5
    assert np.abs(full - none).max() > 0.02
    assert np.abs(restore_frames(frames, restorer, source_look="camera") - full).max() > 0.01


def test_cuts_keep_frames_apart(tiny_model: FMANet, tmp_path) -> None:
    (tmp_path / "cuts.txt").write_text("2\n")
    restorer = on_cpu(tiny_model)
    apart = restore_frames(FRAMES, restorer, scene_detect=str(tmp_path / "cuts.txt"))
    assert np.array_equal(apart[2:], restore_frames(FRAMES[2:], restorer))
    assert not np.array_equal(apart, restore_frames(FRAMES, restorer))


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (FRAMES[0], r"one image needs frames\[None\]"),
        (FRAMES.transpose(0, 3, 1, 2), r"colours first: permute to \(0, 2, 3, 1\)"),
        (FRAMES[..., :1], r"\(T, H, W, 3\)"),
        (FRAMES[:0], r"got \(0, 12, 16, 3\)"),
        (FRAMES.astype(np.int32), "got int32"),
        (FRAMES.astype(np.float32), "divide by 255"),
        (FRAMES / np.float32(-255), r"in \[0, 1\], got -1"),
        (np.full((1, 4, 4, 3), np.nan, np.float32), "got nan"),
        (torch.zeros(2, 4, 4, 3, dtype=torch.bool), "torch.bool"),
        ([FRAMES], "numpy array or torch tensor"),
    ],
)
def test_anything_else_is_refused_with_the_layout(frames, said: str, tiny_model: FMANet) -> None:
    with pytest.raises(OptionError, match=said):
        restore_frames(frames, tiny_model)


def test_a_restorer_has_made_its_choices(tiny_model: FMANet) -> None:
    with pytest.raises(OptionError, match="already"):
        restore_frames(FRAMES, on_cpu(tiny_model), device="cpu")


def test_a_stream_of_arrays_is_told_where_to_go(tiny_model: FMANet) -> None:
    with pytest.raises(OptionError, match="takes Frame objects, got ndarray; restore_frames"):
        next(on_cpu(tiny_model).restore(FRAMES))


@pytest.mark.parametrize("call", [FMANet.forward, lambda model, window: model.forward_training(window, None)])
def test_the_network_names_its_layout(call: Callable, tiny_model: FMANet) -> None:
    for window in (torch.zeros(3, 3, 8, 8), torch.zeros(1, 5, 3, 8, 8), torch.zeros(1, 3, 5, 8, 8)):
        with pytest.raises(FmanetError, match=r"\(B, 3, 3, H, W\): batch, colours, frames, rows, columns"):
            call(tiny_model, window)
    with pytest.raises(FmanetError, match="divide by 255"):
        call(tiny_model, torch.zeros(1, 3, 3, 8, 8, dtype=torch.uint8))
