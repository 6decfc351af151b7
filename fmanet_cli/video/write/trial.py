"""Which encoders of this installation can really be started, and which FFmpeg they come from."""

from __future__ import annotations

from fractions import Fraction

import av

from fmanet_cli.errors import OptionError
from fmanet_cli.video.write.codecs import EncoderOptions, encoder_settings_options, find_codec

_WIDTH, _HEIGHT = 256, 144
"""NVENC refuses smaller frames."""


def encoder_fault(name: str) -> str | None:
    """Start an encoder with its default settings and close it again.

    Args:
        name: full or short name, such as `x265`.

    Returns:
        Why it cannot be used here, in a line; None where it can. An encoder of a GPU is built in everywhere and only
        fails where there is no such GPU or driver.
    """
    try:
        codec = find_codec(name)
        context = av.CodecContext.create(codec.name, "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height, context.pix_fmt = _WIDTH, _HEIGHT, codec.pixel_formats[0]
        context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
        context.options = encoder_settings_options(codec, EncoderOptions(), None)
        context.open()
    except OptionError as error:
        return str(error)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        return str(error).splitlines()[0]
    return None


def ffmpeg_text() -> str:
    """Versions of PyAV and of the FFmpeg libraries inside it, in a line."""
    libraries = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
    return f"PyAV {av.__version__}, libavcodec {libraries.get('libavcodec', '?')}"
