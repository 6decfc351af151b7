"""Whether restoring a film will help, in one sentence, from what its frames say.

The bounds were measured on 2026-11-27 with the `lite` before part 8 (weights/README): nine photographs, filmed by a
moving camera with 38 kinds and amounts of motion blur, defocus, noise, x264 and sharpening, at a quarter of their size;
gain in PSNR over bicubic.
What the frames gained that fall under each kind, in dB:

    kind           frames   median   10th and 90th percentile
    sharp             115     1.29     0.36   2.63
    soft               16     1.12     0.28   2.35
    noise              33     0.86     0.05   1.99
    motion             92     0.82     0.12   1.90
    blocks              9     0.43     0.20   0.68
    long motion        12     0.42     0.11   0.79
    focus              55     0.02    -0.05   1.70   (motion along a diagonal is sometimes taken for it)
    heavy blocks       10    -0.03    -0.11   0.09
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from fmanet_cli.review.meters import ImageMeters

LARGE_SIDE = 1080
"""Shorter side in pixels from which four times the size is more than any screen shows."""

BLOCKY, SOME_BLOCKS = 0.1, 0.03
"""`blockiness` of the median frame: x264 at crf 35 and more, and from crf 28 on."""

UNFOCUSED = 2.6
"""`blur_across` from which frames are soft in every direction, unless `blur` is twice as long."""

LONG_BLUR, SOME_BLUR = 7.0, 2.0
"""`blur` in pixels that is too long for the network's kernels, and from which it shows."""

STRETCHED = 1.45
"""`blur` over `blur_across` from which blur has a direction."""

CLEAR_BLUR, CLEARLY_STRETCHED = 3.0, 1.8
"""The same of blur that nothing but motion makes."""

NOISY = 7.0
"""`noise` in 8-bit steps from which half of the gain is lost."""


@dataclass(frozen=True, slots=True)
class FilmMeters:
    """What the frames of a film say together."""

    blur: float
    """Median of `ImageMeters.blur`."""
    blur_across: float
    """Median of `ImageMeters.blur_across`."""
    most_blur: float
    """90th percentile of `ImageMeters.blur`."""
    noise: float
    """Median of `ImageMeters.noise`."""
    blockiness: float
    """Median of `ImageMeters.blockiness`: as the bounds were measured, on frames that are no key frames."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether restoring will help."""

    kind: str
    """`motion`, `sharp`, `soft`, `noise`, `long motion`, `blocks`, `heavy blocks`, `focus`, `large` or `unknown`."""
    helps: str
    """`yes`, `some`, `little` or `unknown`."""
    sentence: str
    """The same for people, with what else to try."""


_VERDICTS = (
    Verdict("large", "little", "already large: 4x is more than a screen shows; --scale 1 takes blur away alone"),
    Verdict("heavy blocks", "little", "heavily compressed: nothing to gain (0.0 dB over bicubic); find a better copy"),
    Verdict("focus", "little", "soft in all directions, as out of focus: next to nothing to gain; try a sharpener"),
    Verdict("long motion", "some", "blurred over many pixels: less blur, but some stays (0.4 dB over bicubic)"),
    Verdict("blocks", "some", "compressed: helps a little (0.4 dB over bicubic); a better copy gains more"),
    Verdict("noise", "some", "noisy: helps (0.9 dB over bicubic), more after a denoiser"),
    Verdict("motion", "yes", "motion blur: this is what it is for (0.8 dB over bicubic)"),
    Verdict("soft", "yes", "a little soft: it helps (1.1 dB over bicubic)"),
    Verdict("sharp", "yes", "small, and sharp for its size: more detail (1.3 dB over bicubic), no blur to remove"),
    Verdict("unknown", "unknown", "too small or too dark to tell"),
)
_BY_KIND = {verdict.kind: verdict for verdict in _VERDICTS}


def film_meters(measured: Sequence[ImageMeters]) -> FilmMeters | None:
    """Put the meters of a film's frames together; None where none of them says anything."""
    telling = [meters for meters in measured if meters.tells_blur]
    if not telling:
        return None
    return FilmMeters(
        blur=median(meters.blur for meters in telling),
        blur_across=median(meters.blur_across for meters in telling),
        most_blur=float(np.percentile([meters.blur for meters in telling], 90)),
        noise=median(meters.noise for meters in telling),
        blockiness=median(meters.blockiness for meters in telling),
    )


def judge(meters: FilmMeters | None, height: int, width: int) -> Verdict:
    """Say whether restoring a film of frames of this size in pixels will help."""
    return _BY_KIND[_kind(meters, height, width)]


def _kind(meters: FilmMeters | None, height: int, width: int) -> str:
    if min(height, width) >= LARGE_SIDE:
        return "large"
    if meters is None:
        return "unknown"
    # The blurriest tenth decides: a hand that shakes now and then is what restoring is asked for.
    blur = max(meters.blur, meters.most_blur)
    cases = {
        "focus": meters.blur_across >= UNFOCUSED and meters.blur < 2 * meters.blur_across,
        "noise": meters.noise >= NOISY,
        "long motion": meters.blur >= LONG_BLUR,
        # A coder blurs too, but not in one direction; and what is blurred shows its grid at any quality.
        "motion": meters.blur >= CLEAR_BLUR and meters.blur >= CLEARLY_STRETCHED * meters.blur_across,
        "heavy blocks": meters.blockiness >= BLOCKY,
        "blocks": meters.blockiness >= SOME_BLOCKS,
        "some motion": blur >= SOME_BLUR and blur >= STRETCHED * meters.blur_across,
        "soft": meters.blur >= SOME_BLUR,
    }
    found = next((kind for kind, is_so in cases.items() if is_so), "sharp")
    return "motion" if found == "some motion" else found
