"""Whether restoring a film will help, in one sentence, from what its frames say.

The bounds were measured on 2026-11-27 with the `lite` before part 8 (weights/README): nine photographs, filmed by a
moving camera with 38 kinds and amounts of motion blur, defocus, noise, x264 and sharpening, at a quarter of their size.
What the frames that fall under each kind gain in PSNR over bicubic was measured anew on 2026-11-28, with the `lite` of
part 10, by `python tests/support/gain_by_kind.py lite` and nine of val/photos (all but detectron-34501842524 and
opensfm-berlin-03; AMD EPYC with AVX-512), in dB:

    kind           frames   median   10th and 90th percentile
    noise              17     1.78     1.21   3.67
    sharp             155     1.20     0.38   2.58
    soft               44     0.84     0.26   2.54
    motion             49     0.74     0.30   1.66
    long motion         6     0.67     0.38   0.98
    focus              55     0.30     0.00   1.58   (motion along a diagonal is sometimes taken for it)
    blocks              7     0.19    -0.02   0.68
    heavy blocks        9     0.07    -0.07   0.48
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
"""`noise` in 8-bit steps from which the `lite` before part 8 lost half of its gain."""


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
    Verdict(
        "heavy blocks",
        "little",
        "heavily compressed: next to nothing to gain (0.1 dB over bicubic); find a better copy",
    ),
    Verdict(
        "focus",
        "little",
        "soft in all directions, as out of focus: little to gain (0.3 dB over bicubic); try a sharpener",
    ),
    Verdict("long motion", "some", "blurred over many pixels: less blur, but some stays (0.7 dB over bicubic)"),
    Verdict("blocks", "some", "compressed: helps a little (0.2 dB over bicubic); a better copy gains more"),
    Verdict("noise", "some", "noisy: helps (1.8 dB over bicubic), more after a denoiser"),
    Verdict("motion", "yes", "motion blur: this is what it is for (0.7 dB over bicubic)"),
    Verdict("soft", "yes", "a little soft: it helps (0.8 dB over bicubic)"),
    Verdict("sharp", "yes", "small, and sharp for its size: more detail (1.2 dB over bicubic), no blur to remove"),
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
