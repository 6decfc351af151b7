"""The words that some options of encoders take.

Encoders list them in their documents only, and say no to others on their own, past FFmpeg's messages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fmanet_cli.errors import OptionError

_SPEEDS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip

WORDS: Mapping[str, Mapping[str, tuple[str, ...] | range]] = {
    "libx264": {
        "preset": _SPEEDS,
        "tune": ("film", "animation", "grain", "stillimage", "psnr", "ssim", "fastdecode", "zerolatency"),
        "profile": ("baseline", "main", "high", "high10", "high422", "high444"),
    },
    "libx265": {
        "preset": _SPEEDS,
        "tune": ("animation", "grain", "psnr", "ssim", "fastdecode", "zerolatency"),
    },
    "libsvtav1": {"preset": range(-2, 14)},
    "libvpx-vp9": {"cpu-used": range(-8, 9)},
    "prores_ks": {"profile": ("auto", "proxy", "lt", "standard", "hq", "4444", "4444xq")},
}
"""Encoder -> option -> its words, or its numbers. Where words have numbers too, these are left out."""

_ALSO = {"tune": {"touhou", "vmaf", "fast-decode", "zero-latency"}}
"""Rare words that are taken and not recommended."""

_JOINED = re.compile(r"[,./+]")


def check_words(codec: str, options: Mapping[str, str], names: Mapping[str, str]) -> None:
    """Hold the options of an encoder against the words that they take.

    Args:
        codec: FFmpeg's name of the encoder.
        options: of the encoder.
        names: what the user calls some of them.

    Raises:
        OptionError: a value is none of them.
    """
    for option, words in WORDS.get(codec, {}).items():
        value = options.get(option)
        if value is not None and not _is_taken(value, option, words):
            known = f"{words[0]} to {words[-1]}" if isinstance(words, range) else ", ".join(words)
            raise OptionError(f"{codec} does not take {names.get(option, option)}={value!r}; it takes {known}")


def _is_taken(value: str, option: str, words: tuple[str, ...] | range) -> bool:
    if isinstance(words, range):
        return re.fullmatch(r"-?\d{1,9}", value) is not None and int(value) in words
    if re.fullmatch(r"-?\d", value) and option != "tune":
        return True
    known = {*words, *_ALSO.get(option, ())}
    # x264 takes several tunes at once.
    parts = _JOINED.split(value) if option == "tune" else [value]
    return all(part.lower() in known for part in parts)
