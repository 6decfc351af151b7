"""Every pixel format that decoders give, against the same image made by hand."""

from __future__ import annotations

import av
import numpy as np
import pytest

from fmanet_cli.errors import OptionError
from fmanet_cli.video.pixels.colour import Colour
from fmanet_cli.video.pixels.formats import frame_to_rgb, pixel_layout, rgb_to_frame, smallest_alpha
from support.clips import yuv_frame

LIMITED, FULL = Colour(1, False), Colour(1, True)


def flat_rgb(pix_fmt: str, rgb: tuple[int, int, int], height: int = 18, width: int = 34) -> av.VideoFrame:
    """A flat frame of an RGB format, converted by swscale from 8-bit RGB (exact between RGB layouts)."""
    array = np.broadcast_to(np.array(rgb, np.uint8), (height, width, 3))
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24").reformat(format=pix_fmt, threads=1)


@pytest.mark.parametrize("pix_fmt", ["rgb24", "bgr24", "rgba", "bgra", "argb", "abgr", "0rgb", "bgr0", "gbrp", "gbrap"])
def test_8_bit_rgb_is_read_exactly(pix_fmt: str) -> None:
    image = frame_to_rgb(flat_rgb(pix_fmt, (200, 10, 77)), LIMITED)
    assert image.shape == (18, 34, 3)
    assert image.dtype == np.float32
    assert np.abs(image - np.array([200, 10, 77]) / 255).max() < 1e-6


@pytest.mark.parametrize(
    "pix_fmt", ["rgb48le", "rgb48be", "rgba64le", "rgba64be", "gbrp10le", "gbrp16le", "gbrapf32le"]
)
def test_deep_rgb_is_read(pix_fmt: str) -> None:
    image = frame_to_rgb(flat_rgb(pix_fmt, (255, 0, 128)), LIMITED)
    assert np.abs(image - np.array([1, 0, 128 / 255])).max() < 0.006


def test_16_bit_rgb_is_read_exactly() -> None:
    codes = np.random.default_rng(0).integers(0, 65536, (7, 9, 3)).astype(np.uint16)
    frame = av.VideoFrame.from_ndarray(codes, format="rgb48le")
    assert np.abs(frame_to_rgb(frame, LIMITED) - codes / 65535).max() < 1e-6


def test_palettes_are_read() -> None:
    indices = np.tile(np.arange(4, dtype=np.uint8), (4, 1))
    palette = np.zeros((256, 4), np.uint8)
    palette[:4] = [[255, 255, 0, 0], [255, 0, 255, 0], [0, 0, 0, 255], [255, 9, 9, 9]]
    frame = av.VideoFrame.from_ndarray((indices, palette), format="pal8")
    image = frame_to_rgb(frame, LIMITED)
    assert (image[0] * 255).round().tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]
    assert smallest_alpha(frame) == 0


@pytest.mark.parametrize(
    ("pix_fmt", "planar"),
    [
        ("nv12", "yuv420p"),
        ("nv21", "yuv420p"),
        ("yuyv422", "yuv422p"),
        ("uyvy422", "yuv422p"),
        ("p010le", "yuv420p10le"),
    ],
)
def test_interleaved_chroma_is_read_like_planar(pix_fmt: str, planar: str) -> None:
    random = np.random.default_rng(3)
    frame = rgb_to_frame(random.random((18, 34, 3), np.float32), planar, LIMITED)
    assert np.array_equal(
        frame_to_rgb(frame.reformat(format=pix_fmt, threads=1), LIMITED), frame_to_rgb(frame, LIMITED)
    )


@pytest.mark.parametrize(("pix_fmt", "white"), [("gray", 255), ("gray10le", 1023), ("gray16be", 65535)])
def test_grey_is_read_by_its_range(pix_fmt: str, white: int) -> None:
    kind = np.uint8 if white == 255 else np.dtype(">u2" if pix_fmt.endswith("be") else "<u2")
    full = yuv_frame([np.array([[0, white]], kind)], pix_fmt)
    assert frame_to_rgb(full, FULL)[0].tolist() == [[0, 0, 0], [1, 1, 1]]
    unit = (white + 1) // 256
    limited = yuv_frame([np.array([[16 * unit, 235 * unit]], kind)], pix_fmt)
    assert np.abs(frame_to_rgb(limited, LIMITED)[0] - [[0, 0, 0], [1, 1, 1]]).max() < 1e-6


def test_alpha_beside_grey_and_yuv_is_left_out() -> None:
    frame = av.VideoFrame(2, 1, "ya8")
    np.frombuffer(frame.planes[0], np.uint8)[:4] = [0, 7, 255, 9]
    assert frame_to_rgb(frame, FULL)[0].tolist() == [[0, 0, 0], [1, 1, 1]]
    planes = [np.full((4, 4), 235, np.uint8), *[np.full((2, 2), 128, np.uint8)] * 2, np.full((4, 4), 3, np.uint8)]
    transparent = yuv_frame(planes, "yuva420p")
    assert np.abs(frame_to_rgb(transparent, LIMITED) - 1).max() < 1e-6
    assert smallest_alpha(transparent) == pytest.approx(3 / 255)


@pytest.mark.parametrize(
    "pix_fmt",
    ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le", "nv12", "p010le", "gbrp", "gbrp10le",
     "rgb24", "rgb48be"],
)  # fmt: skip
@pytest.mark.parametrize("size", [(18, 34), (17, 33)])
def test_frames_that_are_written_read_back(pix_fmt: str, size: tuple[int, int]) -> None:
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    image = np.stack([rows / 40, columns / 40, 0.5 + 0 * rows], axis=-1)
    frame = rgb_to_frame(image, pix_fmt, LIMITED)
    assert (frame.height, frame.width, frame.format.name) == (*size, pix_fmt)
    error = np.abs(frame_to_rgb(frame, LIMITED) - image)
    assert error.max() < 0.04
    assert error.mean() < 0.004
    if pix_fmt != "rgb24":
        assert int(frame.colorspace) == 1


def test_layouts_are_described() -> None:
    described = pixel_layout("yuva422p12le")
    assert (described.bits, described.horizontal_shift, described.vertical_shift) == (12, 1, 0)
    assert described.has_alpha
    assert not described.is_rgb
    assert pixel_layout("pal8").is_rgb
    assert pixel_layout("rgb565le").bits == 8
    assert pixel_layout("yuv410p").horizontal_shift == 2


def test_formats_that_cannot_be_written_are_named() -> None:
    image = np.zeros((4, 4, 3), np.float32)
    with pytest.raises(OptionError, match="pixel format bgra cannot be written"):
        rgb_to_frame(image, "bgra", LIMITED)
    with pytest.raises(OptionError, match="pixel format yuv411p cannot be written"):
        rgb_to_frame(image, "yuv411p", LIMITED)
