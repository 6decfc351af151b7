"""The main video of an output held against that of its source: size, shape, colours, depth."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from fmanet_cli.verify.result import Verdict, VerificationRow, row
from fmanet_cli.video.frames import HdrMetadata, VideoInfo
from fmanet_cli.video.inspection import IMAGE_SEQUENCE
from fmanet_cli.video.pixels.formats import pixel_layout
from fmanet_cli.video.write.codecs import CODECS, choose_pixel_format, find_codec
from fmanet_cli.video.write.containers import Container
from fmanet_cli.video.write.orientation import is_right_angled, swaps_sides

_HDR_TOLERANCE = Fraction(1, 10_000)
_SMALLEST_ASPECT_STEP = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPair:
    """Facts of two videos that are compared."""

    source: VideoInfo
    """What was restored."""
    output: VideoInfo
    """The restored copy."""
    container: Container
    """Of the output."""
    height: int
    """Promised, before rotation, in pixels."""
    width: int
    """Promised, before rotation, in pixels."""
    asked_codec: str | None = None
    """Encoder that the user chose; None = nothing."""
    asked_pixel_format: str | None = None
    """What the user chose; None = nothing."""

    @property
    def turns_pixels(self) -> bool:
        """Whether the rotation is to be found in the pixels, because the container cannot hold it."""
        matrix = self.source.display_matrix
        return matrix is not None and not self.container.holds_rotation and is_right_angled(matrix)

    @property
    def swaps_sides(self) -> bool:
        """Whether turned pixels change height and width."""
        matrix = self.source.display_matrix
        return self.turns_pixels and matrix is not None and swaps_sides(matrix)


def video_rows(pair: VideoPair) -> list[VerificationRow]:
    """Rows on size, pixel shape, rotation, depth and colours."""
    rows = [_size_row(pair), _aspect_row(pair), _rotation_row(pair), _depth_row(pair), *_colour_rows(pair)]
    found = pair.output.marks.named()
    rows.extend(
        row(name, value, found.get(name, "none"), otherwise=Verdict.LOST)
        for name, value in pair.source.marks.named().items()
    )
    if pair.source.hdr is not None:
        rows.append(_hdr_row(pair))
    return rows


def _size_row(pair: VideoPair) -> VerificationRow:
    height, width = (pair.width, pair.height) if pair.swaps_sides else (pair.height, pair.width)
    factor = f", {pair.width / pair.source.width:g} times {pair.source.width}x{pair.source.height}"
    found = f"{pair.output.width}x{pair.output.height}"
    promised = f"{width}x{height}"
    verdict = Verdict.SAME if found == promised else Verdict.DIFFERS
    return VerificationRow("size", promised + factor, found, verdict)


def _aspect_row(pair: VideoPair) -> VerificationRow:
    source, output = pair.source, pair.output
    aspect = source.sample_aspect_ratio * Fraction(source.width * pair.height, pair.width * source.height)
    if pair.swaps_sides:
        aspect = 1 / aspect
    aspect = aspect.limit_denominator(_SMALLEST_ASPECT_STEP)
    holds = output.codec in pair.container.aspect_families or not pair.container.families
    held = holds and pair.container is not IMAGE_SEQUENCE
    return row("pixel shape", aspect, output.sample_aspect_ratio, otherwise=Verdict.DIFFERS if held else Verdict.LOST)


def _rotation_row(pair: VideoPair) -> VerificationRow:
    before, after = pair.source.display_matrix, pair.output.display_matrix
    texts = ["none" if matrix is None else " ".join(map(str, matrix)) for matrix in (before, after)]
    if pair.turns_pixels and after is None:
        return VerificationRow("rotation", texts[0], "applied to the pixels", Verdict.CONVERTED)
    lost = before is not None and after is None and not pair.container.holds_rotation
    return row("rotation", *texts, otherwise=Verdict.LOST if lost else Verdict.DIFFERS)


def _depth_row(pair: VideoPair) -> VerificationRow:
    before, after = pair.source.bit_depth, pair.output.bit_depth
    if after == before:
        verdict = Verdict.SAME
    elif after not in _expected_depths(pair):
        verdict = Verdict.DIFFERS
    else:
        verdict = Verdict.CONVERTED if after > before or pair.asked_pixel_format else Verdict.LOST
    return VerificationRow("bit depth", str(before), str(after), verdict)


def _expected_depths(pair: VideoPair) -> set[int]:
    """What the writer's choice of pixel format can give for this codec."""
    if pair.asked_pixel_format:
        return {pixel_layout(pair.asked_pixel_format).bits}
    if pair.container is IMAGE_SEQUENCE:
        return {16 if pair.source.bit_depth > 8 else 8}
    asked = find_codec(pair.asked_codec or pair.container.default_codec)
    codecs = [codec for codec in CODECS.values() if codec.family == pair.output.codec]
    formats = [
        choose_pixel_format(codec, None, bit_depth=pair.source.bit_depth, height=pair.height, width=pair.width)
        for codec in ([asked] if asked in codecs else codecs)
    ]
    return {pixel_layout(name).bits for name in formats}


def _colour_rows(pair: VideoPair) -> list[VerificationRow]:
    source, stated = pair.source.colour, pair.output.stated
    if pair.container is IMAGE_SEQUENCE:
        return [VerificationRow("colours", f"matrix {source.matrix}", "RGB", Verdict.CONVERTED)]
    is_held = pair.container.holds_colour_tags and pair.output.codec not in pair.container.untagged_families
    otherwise = Verdict.DIFFERS if is_held else Verdict.LOST
    ranges = ["full" if full else "limited" for full in (source.full_range, stated.full_range)]
    found = [_code(number) for number in (stated.matrix, stated.primaries, stated.transfer)]
    return [
        _tag_row("colour matrix", _code(source.matrix), found[0], otherwise),
        _tag_row("colour range", ranges[0], "not said" if stated.full_range is None else ranges[1], otherwise),
        _tag_row("colour primaries", _code(source.primaries), found[1], otherwise),
        _tag_row("colour transfer", _code(source.transfer), found[2], otherwise),
    ]


def _code(number: int | None) -> str:
    return "not said" if number in (None, 0, 2) else str(number)


def _tag_row(what: str, source: str, output: str, otherwise: Verdict) -> VerificationRow:
    return row(what, source, output, otherwise=otherwise if output == "not said" else Verdict.DIFFERS)


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
