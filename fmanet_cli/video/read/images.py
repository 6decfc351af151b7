"""Single image files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from fmanet_cli.errors import OptionError, VideoReadError
from fmanet_cli.files import replacing
from fmanet_cli.video.pixels.colour import Colour
from fmanet_cli.video.pixels.formats import frame_to_rgb, rgb_to_frame
from fmanet_cli.video.read.opening import MAX_PIXELS, open_input

_IMAGE_COLOUR = Colour(matrix=5, full_range=True, chroma_location="centre")
"""What an image file means unless it is RGB: the convention of JPEG files."""


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file of any usual kind.

    Args:
        path: of the file.

    Returns:
        (H, W, 3) float32 RGB in [0, 1], gamma-coded as in the file; alpha is left out.

    Raises:
        VideoReadError: the file cannot be opened or decoded.
    """
    return frame_to_rgb(decode_image(path), _IMAGE_COLOUR)


def decode_image(path: str | Path) -> av.VideoFrame:
    """The first frame of an image file as PyAV gives it."""
    try:
        with open_input(path) as container:
            _check_pixels(container, path)
            for frame in container.decode(video=0):
                return frame
    except (av.error.FFmpegError, IndexError) as error:
        raise VideoReadError(f"{path} cannot be read as an image: {_reason(error)}") from error
    raise VideoReadError(f"{path} holds no image")


def _check_pixels(container: av.container.InputContainer, path: str | Path) -> None:
    context = container.streams.video[0].codec_context
    if context.height * context.width > MAX_PIXELS:
        raise VideoReadError(f"{path} is {context.width}x{context.height}; more than {MAX_PIXELS} pixels are refused")


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write an image as PNG with 8 bits.

    Args:
        path: of the file, which is replaced where it exists.
        image: (H, W, 3) float32 RGB, gamma-coded, in [0, 1]; values outside are clipped.

    Raises:
        OptionError: the suffix is not `.png`.
        FileWriteError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise OptionError(f"images are written as .png, got {path.name!r}")
    content = encode_png(image)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def encode_png(image: np.ndarray, *, bit_depth: int = 8) -> bytes:
    """(H, W, 3) float32 RGB in [0, 1] as the bytes of a PNG file with 8 or 16 bits per component."""
    if bit_depth not in (8, 16):
        raise OptionError(f"a PNG has 8 or 16 bits per component, got bit_depth={bit_depth}")
    encoder = av.CodecContext.create("png", "w")
    encoder.height, encoder.width = image.shape[:2]
    encoder.pix_fmt = "rgb24" if bit_depth == 8 else "rgb48be"
    encoder.framerate = Fraction(1)
    frame = rgb_to_frame(image, encoder.pix_fmt, _IMAGE_COLOUR)
    frame.colorspace = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
