"""Windows from sharp clips."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch

from fmanet_cli.dataset.imaging.mixture import Mixture, clean_mixture
from fmanet_cli.errors import TrainingError
from fmanet_cli.training.video import SPAN_FRAMES, VideoOptions, VideoWindows, load_spans
from fmanet_cli.training.windows import downscale_window


def moving_span(*, pixels_a_frame: int = 4, frames: int = SPAN_FRAMES, size: int = 144) -> np.ndarray:
    generator = torch.Generator().manual_seed(2)
    width = size + pixels_a_frame * frames
    coarse = torch.rand(1, 3, size // 6, width // 6, generator=generator)
    scene = torch.nn.functional.interpolate(coarse, size=(size, width), mode="bicubic").clamp(0, 1)
    array = (scene[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    return np.stack([array[:, pixels_a_frame * t : pixels_a_frame * t + size] for t in range(frames)])


def write_clip(path, span: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "10"})
        stream.height, stream.width = span.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for image in span:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())


def windows(**options: object) -> VideoWindows:
    settings = {"window_pixels": 16, "batch_windows": 3, "strides": (1,), "exposure": (0.8, 0.8), **options}
    settings.setdefault("mixture", clean_mixture())
    return VideoWindows([moving_span()], VideoOptions(**settings), seed=1)


def test_flow_and_blur_fit_the_motion():
    batch = windows().batch(0)
    assert batch.blurry.shape == (3, 3, 3, 16, 16)
    seen = batch.flow_valid[:, 0, 2] > 0
    assert float(batch.flow[:, 0, 2][seen].median()) == pytest.approx(-1.0, abs=0.15)
    assert float(batch.flow[:, 1, 2][seen].median()) == pytest.approx(0.0, abs=0.15)
    assert float(batch.flow[:, 0, 0][batch.flow_valid[:, 0, 0] > 0].median()) == pytest.approx(1.0, abs=0.15)
    shrunk = downscale_window(batch.sharp)
    assert float((batch.blurry - shrunk).abs().mean()) > 0.002
    assert float(batch.blurry[..., 1:].sub(batch.blurry[..., :-1]).abs().mean()) < float(
        shrunk[..., 1:].sub(shrunk[..., :-1]).abs().mean()
    )


def test_without_interpolation_source_frames_are_averaged():
    batch = windows(interpolate=False, strides=(2,), exposure=(1.0, 1.0)).batch(0)
    assert batch.sharp.shape == (3, 3, 3, 64, 64)
    assert float(batch.flow[:, 0, 2][batch.flow_valid[:, 0, 2] > 0].median()) == pytest.approx(-2.0, abs=0.3)
    assert float((batch.blurry - downscale_window(batch.sharp)).abs().mean()) > 0.005


def test_a_batch_depends_on_its_number_alone():
    assert torch.equal(windows().batch(4).blurry, windows().batch(4).blurry)
    assert not torch.equal(windows().batch(4).blurry, windows().batch(5).blurry)


def test_the_camera_films_clips_too():
    plain = windows().batch(1)
    filmed = windows(mixture=Mixture(shares={"social": 1.0})).batch(1)
    assert torch.equal(plain.sharp, filmed.sharp)
    assert filmed.blurry_clean is not None
    assert float((filmed.blurry - filmed.blurry_clean).abs().mean()) > 1 / 255


def test_spans_are_read_from_clips_within_a_bound(tmp_path):
    write_clip(tmp_path / "a.mp4", moving_span(frames=5 * SPAN_FRAMES + 3))
    spans = load_spans(tmp_path, smallest_side=64, spans_per_clip=2)
    assert [span.shape for span in spans] == [(SPAN_FRAMES, 144, 144, 3)] * 2
    assert spans[0].dtype == np.uint8


def test_useless_folders_are_refused_in_one_line(tmp_path):
    with pytest.raises(TrainingError, match=r"no videos in .*; it needs files ending in .*\.mp4"):
        load_spans(tmp_path, smallest_side=64)
    write_clip(tmp_path / "short.mp4", moving_span(frames=5))
    with pytest.raises(TrainingError, match=r"all 1 videos in .* are shorter than 16 frames or smaller than 64 pixels"):
        load_spans(tmp_path, smallest_side=64)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    with pytest.raises(TrainingError, match=r"cannot read the video .*b.mp4"):
        load_spans(tmp_path, smallest_side=64)


def test_strides_that_outgrow_a_span_are_refused():
    with pytest.raises(ValueError, match="a window may need 18 source frames, more than 16"):
        VideoOptions(strides=(4,))
