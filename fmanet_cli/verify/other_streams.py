"""The other streams of an output held against those of its source: bytes, times, languages, titles and flags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from fmanet_cli.verify.result import Verdict, VerificationRow, row, seconds_text
from fmanet_cli.verify.times import Mismatch, Ticks, mismatches
from fmanet_cli.video.inspection import Track
from fmanet_cli.video.read.packets import StreamPackets
from fmanet_cli.video.write.containers import ALL_FLAGS, Container
from fmanet_cli.video.write.stream_copier import LEAST_STEP_SECONDS
from fmanet_cli.video.write.stream_plan import PlannedStream, StreamPlan

_SOUND_TOLERANCE_SECONDS = Fraction(1, 4)
_CONVERTED_START_TOLERANCE_SECONDS = Fraction(1, 20)
_LONGEST_SOUND_PACKET_SECONDS = Fraction(1)
_CONTAINERS_COUNTING_SAMPLES = ("mp4", "mov")
"""Of PCM; they hold no times of its packets."""
_COMPARED_FLAGS = sorted(ALL_FLAGS)

_TERMINOLOGY_CODES = {
    "alb": "sqi", "arm": "hye", "baq": "eus", "bur": "mya", "chi": "zho", "cze": "ces", "dut": "nld", "fre": "fra",
    "geo": "kat", "ger": "deu", "gre": "ell", "ice": "isl", "mac": "mkd", "may": "msa", "per": "fas", "rum": "ron",
    "slo": "slk", "sve": "swe", "tib": "bod", "wel": "cym", "iri": "fas",
}  # fmt: skip
"""ISO 639-2 has two codes for some languages, and QuickTime one of its own for two; containers choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsPair:
    """Everything beside the video streams of two files that are compared."""

    source: tuple[Track, ...]
    """Streams of the source but its main video."""
    output: tuple[Track, ...]
    """Streams of the output but its main video."""
    source_video: Track | None
    """The source's main video; None for image sequences."""
    output_video: Track | None
    """The output's main video; None for image sequences."""
    plan: StreamPlan
    """What the writer does with the source's streams in this container."""
    container: Container
    """Of the output."""
    shift_seconds: Fraction
    """By how much every timestamp is moved."""
    sound_starts: Mapping[int, Fraction] = field(default_factory=dict)
    """By index of converted sound: when decoding gives its first samples, in the source's time."""


def stream_rows(pair: StreamsPair) -> list[VerificationRow]:
    """Rows on every stream of the source, and on streams that the output should not have."""
    rows: list[VerificationRow] = []
    if pair.source_video is not None and pair.output_video is not None:
        rows.extend(_mark_rows(pair.source_video, pair.output_video, pair.container, name="video"))
    plans = {planned.index: planned for planned in pair.plan.streams}
    partners = _partners([track for track in pair.source if _is_compared(track)], pair.output, plans)
    for track in filter(_is_compared, pair.source):
        partner = partners.get(track.index)
        if partner is None:
            rows.append(_missing_row(track, pair, is_planned=track.index in plans))
            continue
        planned = plans.get(track.index)
        if planned is None or planned.how == "copy":
            rows.extend(_copied_rows(track, partner, pair))
        else:
            rows.append(_converted_row(track, partner, planned, pair))
        if track.kind in ("audio", "subtitle"):
            rows.extend(_mark_rows(track, partner, pair.container, name=str(track)))
    found = {partner.index for partner in partners.values()}
    rows.extend(
        VerificationRow(str(extra), "not there", "there", Verdict.DIFFERS)
        for extra in pair.output
        if extra.index not in found and _is_compared(extra)
    )
    return rows


def _is_compared(track: Track) -> bool:
    """Time codes are compared as a tag of the video, and chapters as chapters."""
    return track.kind != "timing"


def _partners(source: Sequence[Track], output: Sequence[Track], plans: dict[int, PlannedStream]) -> dict[int, Track]:
    """The output's stream for each of the source's, by index: the one with the same content, else the most similar."""
    scored = [
        (_likeness(before, after, plans.get(before.index)), -abs(before.index - after.index), before, after)
        for before in source
        for after in output
        if _kind(before) == _kind(after)
    ]
    partners: dict[int, Track] = {}
    taken: set[int] = set()
    for likeness, _, before, after in sorted(scored, key=lambda item: item[:2], reverse=True):
        is_wanted = before.index in plans or (likeness >= _SAME_CONTENT and before.kind in ("cover", "attachment"))
        if is_wanted and before.index not in partners and after.index not in taken:
            partners[before.index] = after
            taken.add(after.index)
    return partners


_SAME_CONTENT = 8


def _likeness(before: Track, after: Track, planned: PlannedStream | None) -> int:
    is_copy = planned is None or planned.how == "copy"
    return (
        _SAME_CONTENT * (is_copy and bool(before.digest) and before.digest == after.digest)
        + 4 * (_language(before) == _language(after))
        + 2 * (is_copy and before.codec == after.codec)
        + (before.title == after.title)
    )


def _kind(track: Track) -> str:
    """Matroska shows attached images as cover art."""
    return "attachment" if track.kind == "cover" else track.kind


def _missing_row(track: Track, pair: StreamsPair, *, is_planned: bool) -> VerificationRow:
    if track.kind == "audio" and pair.plan.leaves_out_sound:
        return VerificationRow(str(track), "there", "left out, as asked", Verdict.CONVERTED)
    if is_planned and track.packets is not None and not track.packets.count:
        return VerificationRow(str(track), "no packet in this part", "not there", Verdict.SAME)
    promised = is_planned or (track.kind == "attachment" and pair.container.holds_attachments)
    return VerificationRow(str(track), "there", "not there", Verdict.DIFFERS if promised else Verdict.LOST)


def _copied_rows(before: Track, after: Track, pair: StreamsPair) -> list[VerificationRow]:
    """Rows on the payload and the times of a stream that is copied."""
    old, new = before.packets, after.packets
    same = before.digest == after.digest
    if old is None or new is None or before.kind in ("cover", "attachment"):
        old_text, new_text = (f"{track.digest[:12]} {track.title}".strip() for track in (before, after))
        renamed = before.kind == "attachment" and before.title != after.title
        verdict = Verdict.SAME if same and not renamed else Verdict.DIFFERS
        return [VerificationRow(str(before), old_text, new_text, verdict)]
    old_text, new_text = (f"{packets.count} packets, {packets.byte_count} bytes" for packets in (old, new))
    if not same and old_text == new_text:
        new_text += ", other content"
    rows = [VerificationRow(f"{before} packets", old_text, new_text, Verdict.SAME if same else Verdict.DIFFERS)]
    if same:
        is_counted = pair.container.name in _CONTAINERS_COUNTING_SAMPLES and before.codec.startswith("pcm_")
        rows.append(_packet_times_row(f"{before} timestamps", old, new, pair.shift_seconds, is_counted=is_counted))
    return rows


def _packet_times_row(
    what: str, old: StreamPackets, new: StreamPackets, shift: Fraction, *, is_counted: bool = False
) -> VerificationRow:
    """is_counted: the output's times come from the number of samples, exact where the source's are rounded."""
    texts = _span_text(old), _span_text(new)
    if not old.is_timed or old.restarts:
        return VerificationRow(what, *texts, Verdict.CONVERTED)
    if old.count != new.count:
        # The same bytes in packets of other lengths, as MP4 cuts PCM: only the ends can be held against each other.
        ends = [
            (old.pts[0] * old.time_base + shift, new.pts[0] * new.time_base),
            (old.end * old.time_base + shift, new.end * new.time_base),
        ]
        # An end is the sum of two rounded times.
        near = 2 * max(old.time_base, new.time_base)
        same = all(abs(before - after) <= near for before, after in ends)
        return VerificationRow(what, *texts, Verdict.SAME if same else Verdict.DIFFERS)
    found = mismatches(Ticks(old.pts, old.time_base), Ticks(new.pts, new.time_base), shift)
    near = old.time_base + new.time_base if is_counted else Fraction(0)
    wrong = [
        mismatch
        for mismatch in found
        if abs(mismatch.expected_seconds - mismatch.found_seconds) > near and not _is_parted(mismatch, old, new)
    ]
    if not wrong:
        return VerificationRow(what, *texts, Verdict.SAME)
    first = wrong[0]
    text = (
        f"{len(wrong)} wrong: packet {first.number} of {seconds_text(first.expected_seconds)} "
        f"at {seconds_text(first.found_seconds)}"
    )
    return VerificationRow(what, texts[0], text, Verdict.DIFFERS)


def _is_parted(mismatch: Mismatch, old: StreamPackets, new: StreamPackets) -> bool:
    """Whether a packet stands right behind the one before only because its own time does not come after that one's."""
    if not mismatch.number:
        return False
    before = new.pts[mismatch.number - 1] * new.time_base
    behind = max(LEAST_STEP_SECONDS, old.time_base) + old.time_base + new.time_base
    return mismatch.expected_seconds <= before < mismatch.found_seconds <= before + behind


def _span_text(packets: StreamPackets) -> str:
    if not packets.pts:
        return "none"
    return f"{seconds_text(packets.pts[0] * packets.time_base)} to {seconds_text(packets.end * packets.time_base)}"


def _converted_row(before: Track, after: Track, planned: PlannedStream, pair: StreamsPair) -> VerificationRow:
    """Converted sound has to start with the video and last as long; converted text has to be there."""
    old, new = before.packets, after.packets
    if old is None or new is None or not old.pts:
        return VerificationRow(str(before), before.codec, after.codec, Verdict.CONVERTED)
    texts = f"{before.codec}, {_span_text(old)}", f"{after.codec}, {_span_text(new)}"
    verdict = Verdict.CONVERTED
    if not new.pts:
        verdict = Verdict.DIFFERS
    elif planned.how == "audio" and old.is_timed and not old.restarts:
        shift = pair.shift_seconds
        # Some decoders, of Windows Media Audio above all, give nothing for their first packets.
        first = pair.sound_starts.get(before.index, old.first * old.time_base)
        start = abs(first + shift - new.first * new.time_base)
        end = _outside_last_packet(old, new.end * new.time_base - shift)
        if start > _CONVERTED_START_TOLERANCE_SECONDS or end > _SOUND_TOLERANCE_SECONDS:
            verdict = Verdict.DIFFERS
    return VerificationRow(str(before), *texts, verdict)


def _outside_last_packet(packets: StreamPackets, end_seconds: Fraction) -> Fraction:
    """How far an end lies outside the last packet, in seconds.

    Matroska does not say how long the packets of WavPack last, and gives the last one of TTA the length of all others.
    """
    begin, end = max(packets.pts) * packets.time_base, packets.end * packets.time_base
    if not packets.last_duration:
        end += _LONGEST_SOUND_PACKET_SECONDS
    return max(begin - end_seconds, end_seconds - end, Fraction(0))


def _mark_rows(before: Track, after: Track, container: Container, *, name: str) -> Iterable[VerificationRow]:
    """Rows on language, title and flags, each only where there is something to keep."""
    if before.language or after.language:
        lost = not after.language and (not container.holds_titles or container.name == "mov")
        languages = _language(before), _language(after)
        yield row(f"{name} language", *languages, otherwise=Verdict.LOST if lost else Verdict.DIFFERS)
    if before.title or after.title:
        lost = not after.title and not container.holds_titles
        yield row(f"{name} title", before.title, after.title, otherwise=Verdict.LOST if lost else Verdict.DIFFERS)
    wanted = [flag for flag in _COMPARED_FLAGS if flag in before.flags]
    missing = [flag for flag in wanted if flag not in after.flags]
    wrong = ["forced"] if "forced" in after.flags and "forced" not in before.flags else []
    if wanted or wrong:
        held = set(missing) & container.held_flags
        verdict = Verdict.DIFFERS if held or wrong else Verdict.LOST if missing else Verdict.SAME
        found = [flag for flag in _COMPARED_FLAGS if flag in after.flags and (flag in wanted or flag in wrong)]
        yield VerificationRow(f"{name} flags", " ".join(wanted) or "none", " ".join(found) or "none", verdict)


def _language(track: Track) -> str:
    return _TERMINOLOGY_CODES.get(track.language, track.language) or "none"
