"""A few frames through a real encoder and decoder in memory, for what the codec does to them."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import cast

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from fmanet_cli.errors import OptionError, VideoWriteError
from fmanet_cli.video.pixels.colour import Colour
from fmanet_cli.video.pixels.formats import frame_to_rgb, rgb_to_frame

_LIMITED = ("yuv420p", Colour(matrix=6, full_range=False))
_FULL = ("yuvj420p", Colour(matrix=6, full_range=True, chroma_location="centre"))
_RATE = 30
_SAME_EACH_TIME = {"x264-params": "asm=sse4.2"} if platform.machine().lower() in ("x86_64", "amd64") else {}
"""For libx264: where it looks ahead its AVX-512 code reads what was never written, so equal frames come out unequal."""


@lru_cache
def has_encoder(codec: str) -> bool:
    """Whether this build of FFmpeg encodes with `codec` (FFmpeg's name, such as `libx264`)."""
    try:
        av.codec.Codec(codec, "w")
    except ValueError:
        return False
    return True


def code_frames(frames: Sequence[np.ndarray], *, codec: str, options: Mapping[str, str]) -> list[np.ndarray]:
    """Encode frames as 4:2:0 video (limited range; full for `mjpeg`) and return them decoded.

    frames: (H, W, 3) float32 RGB in [0, 1], gamma-coded, of one size with even sides. `options` go to the encoder.
    The conversion to planes and back is the program's own, exact to rounding: libswscale's shifts the colours. One
    thread, so equal frames and options give equal results. Raises OptionError for an encoder that this build lacks or
    that refuses the options, and VideoWriteError if frames are lost.
    """
    if not has_encoder(codec):
        raise OptionError(f"this build of FFmpeg has no encoder {codec}; choose another codec")
    height, width = frames[0].shape[:2]
    if height % 2 or width % 2:
        raise OptionError(f"frames to be coded need even sides, got {width}x{height}")
    pixel_format, colour = _FULL if codec == "mjpeg" else _LIMITED
    encoder = cast(VideoCodecContext, av.CodecContext.create(codec, "w"))
    encoder.height, encoder.width, encoder.pix_fmt = height, width, pixel_format
    encoder.time_base, encoder.framerate = Fraction(1, _RATE), Fraction(_RATE)
    encoder.thread_count = 1
    encoder.options = {**(_SAME_EACH_TIME if codec == "libx264" else {}), **options}
    images = [rgb_to_frame(frame, pixel_format, colour) for frame in frames]
    try:
        decoded = _decode(encoder, _encode(encoder, images))
    except av.error.FFmpegError as error:
        raise OptionError(f"{codec} refuses frames of {width}x{height} with {dict(options)}: {error}") from error
    if len(decoded) != len(frames):
        raise VideoWriteError(f"{codec} gave {len(decoded)} of {len(frames)} frames back")
    return [frame_to_rgb(frame, colour) for frame in decoded]


def _encode(encoder: VideoCodecContext, images: Sequence[av.VideoFrame]) -> list[av.Packet]:
    packets = []
    for time, image in enumerate(images):
        image.pts, image.time_base = time, Fraction(1, _RATE)
        packets += encoder.encode(image)
    return packets + encoder.encode(None)


def _decode(encoder: VideoCodecContext, packets: Sequence[av.Packet]) -> list[av.VideoFrame]:
    decoder = cast(VideoCodecContext, av.CodecContext.create(encoder.codec.canonical_name, "r"))
    decoder.thread_count = 1
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    return [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
