"""The main video of an output held against that of its source: size, shape, colours, depth."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from fmanet_cli.verify.result import Verdict, VerificationRow, row
from fmanet_cli.video.frames import NO_MARKS, NOT_SAID, HdrMetadata, VideoInfo, VideoMarks, colour_words
from fmanet_cli.video.write.codecs import CODECS
from fmanet_cli.video.write.containers import IMAGE_SEQUENCE, Container
from fmanet_cli.video.write.orientation import swaps_sides
from fmanet_cli.video.write.plan import OutputPlan

_HDR_TOLERANCE = Fraction(1, 10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPair:
    """Facts of two videos that are compared."""

    output: VideoInfo
    """The restored copy."""
    plan: OutputPlan
    """What it was to become."""
    container: Container
    """Of the output, as it was found."""
    promised: VideoMarks = NO_MARKS
    """What the run promised to carry of captions, 360 degree and stereo marks."""

    @property
    def source(self) -> VideoInfo:
        """What was restored."""
        return self.plan.like


def video_rows(pair: VideoPair) -> list[VerificationRow]:
    """Rows on size, pixel shape, rotation, depth and colours."""
    rows = [_size_row(pair), _aspect_row(pair), _rotation_row(pair), _depth_row(pair), *_colour_rows(pair)]
    if pair.plan.settings is not None:
        rows.insert(0, row("codec", pair.plan.settings.codec.family, pair.output.codec))
    found, promised = pair.output.marks.named(), pair.promised.named()
    rows.extend(
        row(name, value, found.get(name, "none"), otherwise=Verdict.DIFFERS if name in promised else Verdict.LOST)
        for name, value in pair.source.marks.named().items()
    )
    if pair.source.hdr is not None:
        rows.append(_hdr_row(pair))
    return rows


def _size_row(pair: VideoPair) -> VerificationRow:
    plan = pair.plan
    height, width = plan.height, plan.width
    if plan.baked_matrix is not None and swaps_sides(plan.baked_matrix):
        height, width = width, height
    factor = f", {plan.width / pair.source.width:g} times {pair.source.width}x{pair.source.height}"
    found = f"{pair.output.width}x{pair.output.height}"
    promised = f"{width}x{height}"
    verdict = Verdict.SAME if found == promised else Verdict.DIFFERS
    return VerificationRow("size", promised + factor, found, verdict)


def _aspect_row(pair: VideoPair) -> VerificationRow:
    output, settings = pair.output, pair.plan.settings
    aspect = pair.source.sample_aspect_ratio if settings is None else settings.sample_aspect_ratio
    held = output.codec in pair.container.aspect_families
    return row("pixel shape", aspect, output.sample_aspect_ratio, otherwise=Verdict.DIFFERS if held else Verdict.LOST)


def _rotation_row(pair: VideoPair) -> VerificationRow:
    before, after = pair.source.display_matrix, pair.output.display_matrix
    texts = ["none" if matrix is None else " ".join(map(str, matrix)) for matrix in (before, after)]
    if after is not None or pair.plan.display_matrix is not None:
        return row("rotation", *texts)
    if pair.plan.baked_matrix is not None:
        return VerificationRow("rotation", texts[0], "applied to the pixels", Verdict.CONVERTED)
    return row("rotation", *texts, otherwise=Verdict.LOST)


def _depth_row(pair: VideoPair) -> VerificationRow:
    before, after = pair.source.bit_depth, pair.output.bit_depth
    if after == before:
        verdict = Verdict.SAME
    elif after != pair.plan.bit_depth:
        verdict = Verdict.DIFFERS
    else:
        settings = pair.plan.settings
        is_requested = settings is not None and settings.requested.pix_fmt is not None
        verdict = Verdict.CONVERTED if after > before or is_requested else Verdict.LOST
    return VerificationRow("bit depth", str(before), str(after), verdict)


def _colour_rows(pair: VideoPair) -> list[VerificationRow]:
    source, stated = pair.source.colour, pair.output.stated
    if pair.container is IMAGE_SEQUENCE:
        return [VerificationRow("colours", f"matrix {source.matrix}", "RGB", Verdict.CONVERTED)]
    is_held = pair.container.holds_colour_tags and pair.output.codec not in pair.container.untagged_families
    otherwise = Verdict.DIFFERS if is_held else Verdict.LOST
    found = colour_words(stated)
    return [
        row(name, said, found[name], otherwise=otherwise if found[name] == NOT_SAID else Verdict.DIFFERS)
        for name, said in colour_words(source).items()
    ]


def _hdr_row(pair: VideoPair) -> VerificationRow:
    before, after = _numbers(pair.source.hdr), _numbers(pair.output.hdr)
    texts = [" ".join(f"{float(number):g}" for number in numbers) or "none" for numbers in (before, after)]
    close = len(before) == len(after) and all(
        abs(x - y) <= max(_HDR_TOLERANCE, abs(x) * _HDR_TOLERANCE) for x, y in zip(before, after, strict=True)
    )
    carried = any(codec.hdr is not None for codec in CODECS.values() if codec.family == pair.output.codec)
    verdict = Verdict.SAME if close else Verdict.DIFFERS if carried else Verdict.LOST
    return VerificationRow("HDR metadata", texts[0], texts[1], verdict)


def _numbers(hdr: HdrMetadata | None) -> list[Fraction]:
    if hdr is None:
        return []
    parts = (hdr.primaries or (), hdr.luminance or (), hdr.content_light or ())
    return [Fraction(number) for part in parts for number in part]
