"""Single images and numbered file names."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from fmanet_cli.errors import FileWriteError, OptionError, VideoReadError
from fmanet_cli.video.read.images import encode_png, read_image, write_image
from fmanet_cli.video.read.sequence import existing_files, is_sequence_pattern, list_sequence, sequence_file


@pytest.mark.parametrize("bits", [8, 16])
def test_png_keeps_values_to_half_a_code(tmp_path: Path, bits: int) -> None:
    image = np.random.default_rng(0).random((37, 53, 3), np.float32)
    (tmp_path / "a.png").write_bytes(encode_png(image, bit_depth=bits))
    again = read_image(tmp_path / "a.png")
    assert again.dtype == np.float32
    assert np.abs(again - image).max() <= 0.5001 / (2**bits - 1)


def test_red_is_red(tmp_path: Path) -> None:
    write_image(tmp_path / "red.png", np.broadcast_to(np.array([1, 0, 0], np.float32), (4, 4, 3)))
    with av.open(str(tmp_path / "red.png")) as container:
        array = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert array[0, 0].tolist() == [255, 0, 0]


def test_values_outside_are_clipped(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.array([[[-0.5, 0.5, 1.5]]], np.float32))
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == pytest.approx([0, 128 / 255, 1])


def test_jpeg_is_read_as_full_range_601(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.jpg"), "w") as output:
        stream = output.add_stream("mjpeg", rate=1, options={"qmin": "1", "qmax": "1"})
        stream.height, stream.width, stream.pix_fmt = 16, 16, "yuvj444p"
        array = np.broadcast_to(np.array([200, 40, 90], np.uint8), (16, 16, 3))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
        frame = frame.reformat(format="yuvj444p", dst_colorspace="ITU601", dst_color_range="JPEG", threads=1)
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert np.abs(read_image(tmp_path / "a.jpg") * 255 - [200, 40, 90]).max() < 2.5


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(VideoReadError, match=r"a\.png cannot be read"):
        read_image(tmp_path / "a.png")
    with pytest.raises(VideoReadError, match=r"b\.png does not exist"):
        read_image(tmp_path / "b.png")
    with pytest.raises(OptionError, match=r"images are written as \.png, got 'a\.jpg'"):
        write_image(tmp_path / "a.jpg", np.zeros((2, 2, 3), np.float32))
    with pytest.raises(OptionError, match="8 or 16 bits per component, got bit_depth=10"):
        encode_png(np.zeros((2, 2, 3), np.float32), bit_depth=10)
    with pytest.raises(FileWriteError, match="cannot be written: No such file"):
        write_image(tmp_path / "absent" / "c.png", np.zeros((2, 2, 3), np.float32))


def test_patterns_are_told_from_names(tmp_path: Path) -> None:
    assert is_sequence_pattern("frames/%05d.png")
    assert is_sequence_pattern("f_%d.tif")
    assert not is_sequence_pattern("100%done.mp4")
    assert not is_sequence_pattern("plain.png")
    (tmp_path / "%d.png").touch()
    assert not is_sequence_pattern(tmp_path / "%d.png")


def test_numbers_make_names_and_back(tmp_path: Path) -> None:
    assert sequence_file("a/f_%03d.png", 7) == Path("a/f_007.png")
    assert sequence_file("a/f_%03d.png", 12345) == Path("a/f_12345.png")
    for name in ("f_9.png", "f_10.png", "f_11.png", "f_x.png", "g_1.png", "f_12.png.txt"):
        (tmp_path / name).touch()
    assert list(existing_files(tmp_path / "f_%d.png")) == [9, 10, 11]
    assert [path.name for path in list_sequence(tmp_path / "f_%d.png")] == ["f_9.png", "f_10.png", "f_11.png"]
    with pytest.raises(OptionError, match=r"needs one number like %05d in its file name, got 'a%d_%d\.png'"):
        list_sequence(tmp_path / "a%d_%d.png")
