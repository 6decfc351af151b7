"""Images whose floating-point values are no numbers."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from fmanet_cli.video.pixels.formats import pixels_without_number
from fmanet_cli.video.read.reader import VideoReader


def write_exr(path: Path, image: np.ndarray, pix_fmt: str) -> None:
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as output:
        stream: Any = output.add_stream("exr", rate=1)
        stream.height, stream.width, stream.pix_fmt = *image.shape[:2], pix_fmt
        frame = av.VideoFrame(image.shape[1], image.shape[0], pix_fmt)
        for plane, number in zip(frame.planes, (1, 2, 0, 3), strict=False):
            rows = np.frombuffer(plane, np.float32).reshape(plane.height, -1)
            rows[:, : image.shape[1]] = image[..., number]
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        output.mux([*stream.encode(frame), *stream.encode(None)])


def write_pfm(path: Path, image: np.ndarray, *, order: str) -> None:
    height, width = image.shape[:2]
    scale = -1 if order == "<" else 1
    head = f"PF\n{width} {height}\n{scale}\n".encode()
    path.write_bytes(head + image[::-1, :, :3].astype(f"{order}f4").tobytes())


@pytest.mark.parametrize("kind", ["gbrpf32le", "gbrapf32le", "<", ">"])
def test_pixels_without_a_number_are_named(tmp_path: Path, kind: str) -> None:
    image = np.full((13, 37, 4), 0.5, np.float32)
    image[0, 0, 0], image[3, 5, 1], image[3, 5, 2], image[12, 36, 2] = np.nan, np.inf, np.nan, -np.inf
    image[7, 7] = 1e30
    path = tmp_path / ("a.pfm" if len(kind) == 1 else "a.exr")
    if len(kind) == 1:
        write_pfm(path, image, order=kind)
    else:
        write_exr(path, image, kind)
    with VideoReader(path) as reader:
        read = next(reader).image
    assert np.isfinite(read).all()
    assert reader.warnings[-1:] == [
        "frame 0 has 3 pixels that are no finite numbers (NaN or infinite); such pixels are read as black or white"
    ]


def test_a_sequence_warns_once(tmp_path: Path) -> None:
    image = np.full((8, 9, 4), 0.25, np.float32)
    write_exr(tmp_path / "000.exr", image, "gbrpf32le")
    image[2, 2] = np.nan
    for number in (1, 2):
        write_exr(tmp_path / f"{number:03d}.exr", image, "gbrpf32le")
    with VideoReader(tmp_path / "%03d.exr") as reader:
        assert len(list(reader)) == 3
    assert [warning[:20] for warning in reader.warnings] == ["frame 1 has 1 pixels"]


@pytest.mark.parametrize("pix_fmt", ["grayf32le", "yaf32le", "rgbf32be", "rgbaf16le", "gbrpf16be", "yuv420p", "rgb24"])
def test_every_layout_is_counted_without_its_padding(pix_fmt: str) -> None:
    frame = av.VideoFrame(5, 3, pix_fmt)
    for plane in frame.planes:
        np.frombuffer(plane, np.uint8)[:] = 0xFF
    whole = pixels_without_number(frame)
    assert whole == (15 if "f" in pix_fmt else 0)
