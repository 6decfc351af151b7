"""Chapters and tags of an output held against those of its source."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction

from fmanet_cli.verify.result import Verdict, VerificationRow, row, seconds_text
from fmanet_cli.video.frames import VideoInfo
from fmanet_cli.video.write.containers import Container
from fmanet_cli.video.write.tags import kept_tags, shifted_chapters, unusual_tags

_CHAPTER_TOLERANCE_SECONDS = Fraction(1, 1000)


def chapter_rows(
    source: VideoInfo, output: VideoInfo, container: Container, shift_seconds: Fraction
) -> list[VerificationRow]:
    """One row on all chapters; none where neither file has any."""
    expected = [
        (chapter["start"] * chapter["time_base"], chapter["end"] * chapter["time_base"], _title(chapter["metadata"]))
        for chapter in shifted_chapters(source, shift_seconds)
    ]
    found = [(chapter.start_seconds, chapter.end_seconds, _title(chapter.metadata)) for chapter in output.chapters]
    if not expected and not found:
        return []
    otherwise = Verdict.DIFFERS if container.holds_chapters else Verdict.LOST
    if len(expected) != len(found):
        return [row("chapters", len(expected), len(found), otherwise=otherwise)]
    for number, (before, after) in enumerate(zip(expected, found, strict=True), 1):
        late = max(abs(x - y) for x, y in zip(before[:2], after[:2], strict=True))
        if late > _CHAPTER_TOLERANCE_SECONDS or before[2] != after[2]:
            old_text, new_text = (f"{seconds_text(c[0])} to {seconds_text(c[1])} {c[2]!r}" for c in (before, after))
            return [VerificationRow(f"chapter {number}", old_text, new_text, Verdict.DIFFERS)]
    return [row("chapters", len(expected), len(found))]


def tag_rows(source: VideoInfo, output: VideoInfo, container: Container, *, has_cover: bool) -> list[VerificationRow]:
    """One row on all tags of the file, and one for each that is not the same."""
    expected = kept_tags(source)
    found = {key.lower(): value for key, value in output.metadata.items()}
    unusual = unusual_tags(source) if container.name in ("mp4", "mov") and has_cover else []
    rows = []
    for key, value in expected.items():
        after = found.get(key.lower())
        if after is None:
            lost = not container.holds_metadata or key in unusual
            rows.append(VerificationRow(f"tag {key}", value, "not there", Verdict.LOST if lost else Verdict.DIFFERS))
        elif not _same_value(value, after):
            rows.append(VerificationRow(f"tag {key}", value, after, Verdict.DIFFERS))
    if expected:
        rows.insert(0, VerificationRow("tags", str(len(expected)), str(len(expected) - len(rows)), _worst(rows)))
    return rows


def _title(metadata: dict[str, str]) -> str:
    return metadata.get("title", "")


def _same_value(before: str, after: str) -> bool:
    if before.strip() == after.strip():
        return True
    try:
        moments = [datetime.fromisoformat(text.replace("Z", "+00:00")) for text in (before, after)]
    except ValueError:
        return False
    return moments[0].replace(tzinfo=None, microsecond=0) == moments[1].replace(tzinfo=None, microsecond=0)


def _worst(rows: Sequence[VerificationRow]) -> Verdict:
    verdicts = {found.verdict for found in rows}
    return next((verdict for verdict in (Verdict.DIFFERS, Verdict.LOST) if verdict in verdicts), Verdict.SAME)
