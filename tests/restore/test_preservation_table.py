"""Kinds of file and what a run keeps of each, seen by ffprobe and by PyAV; as a program it prints a table."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1])]

import av
import pytest

from fmanet_cli.restore.job import restore_video
from fmanet_cli.restore.outcome import RestoreReport
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.video.write.codecs import EncoderOptions
from support.clips import make_clip, make_gif, make_interlaced, packet_payloads
from support.fuzz_runs import plain_restorer

pytestmark = pytest.mark.slow

KEPT, NONE = "kept", "–"
COLUMNS = ("frames", "timestamps", "audio", "subtitles", "chapters", "attachments", "colour", "HDR", "rotation", "SAR")
PQ, HLG = (9, 1, 9, 16), (9, 1, 9, 18)
MASTERING = (
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400:hdr10=1"
)
HEVC = EncoderOptions(codec="libx265", preset="ultrafast")
TEXT = [(0.0, 0.2, "one"), (0.2, 0.4, "two")]
PARTS = [(0.0, 0.2, "first"), (0.2, 0.48, "second")]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file."""

    source: str
    """Suffix of the source."""
    target: str
    """Suffix of the output."""
    clip: dict[str, Any] = field(default_factory=dict)
    """Options of `make_clip`."""
    maker: Callable[[Path], Any] | None = None
    """What makes the source instead of `make_clip`."""
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    """How the output is encoded."""
    expected: dict[str, str] = field(default_factory=dict)
    """Column -> what is not kept there, and so must be said."""
    said: str = ""
    """Part of a warning that must be given."""

    @property
    def how(self) -> str:
        made = ", ".join(f"{name}={_short(value)}" for name, value in self.clip.items())
        return self.maker.__name__ if self.maker is not None else f"make_clip({made})"


KINDS: dict[str, Kind] = {
    "constant rate, AAC": Kind("mp4", "mp4", {"audio": ["aac"]}),
    "30000/1001 a second": Kind("mp4", "mkv", {"rate": Fraction(30000, 1001)}),
    "variable rate": Kind(
        "mp4", "mp4", {"pts": [0, 900, 2000, 2100, 9000, 9001, 12345], "time_base": Fraction(1, 12800)}
    ),
    "long last frame": Kind("mp4", "mp4", {"last_duration": 5000}),
    "start after zero, B-frames": Kind("mp4", "mp4", {"pts": [512 * (40 + n) for n in range(12)]}),
    "start before zero": Kind("mkv", "mkv", {"pts": [512 * (n - 3) for n in range(12)]}),
    "one frame": Kind("mp4", "mp4", {"count": 1}),
    "two frames": Kind("mkv", "mkv", {"count": 2}),
    "odd size": Kind("mp4", "mp4", {"height": 61, "width": 97, "pix_fmt": "yuv444p"}),
    "two sound tracks": Kind("mp4", "mp4", {"audio": ["aac", "ac3"]}),
    "Matroska with everything": Kind(
        "mkv",
        "mkv",
        {"audio": ["aac", "flac"], "subtitles": TEXT, "chapters": PARTS, "attachment": b"font", "tags": (1, 1, 1, 1)},
    ),
    "MP4 with mov_text and chapters": Kind("mp4", "mp4", {"audio": ["aac"], "subtitles": TEXT, "chapters": PARTS}),
    "SubRip to MP4": Kind("mkv", "mp4", {"subtitles": TEXT}),
    "mov_text to Matroska": Kind("mp4", "mkv", {"subtitles": TEXT}),
    "attachment to MP4": Kind(
        "mkv", "mp4", {"attachment": b"font"}, expected={"attachments": "lost"}, said="attachment font.ttf is left out"
    ),
    "cover art": Kind("mp4", "mp4", {"cover": True}),
    "QuickTime ProRes": Kind(
        "mov", "mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}, encoder=EncoderOptions(codec="prores_ks")
    ),
    "WebM, Opus": Kind(
        "webm", "webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}, "audio": ["libopus"]}
    ),
    "MPEG-TS": Kind("ts", "ts", {"audio": ["aac"]}),
    "MPEG-TS to MP4": Kind("ts", "mp4", {"audio": ["aac"]}),
    "NUT, FFV1": Kind("nut", "nut", {"codec": "ffv1"}, encoder=EncoderOptions(codec="ffv1")),
    "AVI, motion JPEG": Kind("avi", "mkv", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "GIF": Kind("gif", "mp4", maker=make_gif),
    "interlaced": Kind("mp4", "mp4", maker=make_interlaced),
    "BT.601": Kind("mp4", "mp4", {"tags": (6, 1, 6, 6)}),
    "BT.709, full range": Kind("mp4", "mkv", {"tags": (1, 2, 1, 1)}),
    "10 bit, HDR10 (PQ)": Kind(
        "mp4",
        "mp4",
        {
            "codec": "libx265",
            "pix_fmt": "yuv420p10le",
            "tags": PQ,
            "options": {"x265-params": f"log-level=none:repeat-headers=1:{MASTERING}"},
        },
        encoder=HEVC,
    ),
    "10 bit, HLG": Kind("mkv", "mkv", {"codec": "libx265", "pix_fmt": "yuv420p10le", "tags": HLG}, encoder=HEVC),
    "pixels not square": Kind("mp4", "mp4", {"sample_aspect_ratio": Fraction(64, 45)}),
    "turned by 90 degrees": Kind("mp4", "mp4", {"rotation": 90}),
    "turned, to Matroska": Kind("mp4", "mkv", {"rotation": 180}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one reader sees in one file."""

    times: tuple[Fraction, ...]
    audio: tuple[str, ...]
    subtitles: tuple[str, ...]
    chapters: tuple[tuple[str, Fraction, Fraction], ...]
    attachments: tuple[str, ...]
    colour: tuple[str, ...]
    hdr: tuple[str, ...]
    rotation: int
    sample_aspect_ratio: Fraction


def probed(path: Path, *options: str) -> dict[str, Any]:
    command = ["ffprobe", "-v", "error", "-of", "json", *options, str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def facts_of_ffprobe(path: Path) -> Facts:
    """By a program that shares no code with PyAV's bundled libraries: another version, built by Debian."""
    listed = probed(path, "-show_streams", "-show_chapters")
    streams = listed["streams"]
    video = next(s for s in streams if s["codec_type"] == "video" and not s["disposition"]["attached_pic"])
    frames = probed(path, "-show_frames", "-select_streams", str(video["index"]))["frames"]
    base = Fraction(video["time_base"])
    side = [d for owner in (frames[0], video) for d in owner.get("side_data_list", [])]
    light = [d for d in side if "Mastering" in d["side_data_type"] or "light level" in d["side_data_type"]]
    colour = [frames[0].get(f"color_{name}", "unknown") for name in ("range", "space", "primaries", "transfer")]
    values = [f"{name}={_number(text)}" for d in light for name, text in d.items() if name != "side_data_type"]
    ratio = video.get("sample_aspect_ratio", "1:1").replace(":", "/")
    return Facts(
        times=tuple(int(frame["best_effort_timestamp"]) * base for frame in frames),
        audio=tuple(s["codec_name"] for s in streams if s["codec_type"] == "audio"),
        subtitles=tuple(s["tags"].get("language", "") for s in streams if s["codec_type"] == "subtitle"),
        chapters=tuple(
            (c["tags"]["title"], Fraction(c["start_time"]), Fraction(c["end_time"])) for c in listed["chapters"]
        ),
        attachments=tuple(
            s.get("tags", {}).get("filename", s["codec_name"])
            for s in streams
            if s["codec_type"] == "attachment" or (s["codec_type"] == "video" and s is not video)
        ),
        colour=(*colour, "10 bit" if "10" in video["pix_fmt"] else "8 bit"),
        hdr=tuple(sorted(set(values))),
        rotation=next((int(d["rotation"]) % 360 for d in side if "rotation" in d), 0),
        sample_aspect_ratio=Fraction(1) if ratio.startswith("0/") else Fraction(ratio),
    )


def _number(text: str | int) -> str:
    return f"{float(Fraction(text)):.3f}"


def facts_of_pyav(path: Path) -> Facts:
    """The same, by PyAV alone."""
    with av.open(str(path)) as container:
        videos: list[Any] = [s for s in container.streams.video if not s.disposition & 1024]
        covers = [s.codec_context.name for s in container.streams.video if s.disposition & 1024]
        stream = videos[0]
        frames = list(container.decode(stream))
        first = frames[0]
        full = int(first.color_range) == 2 or first.format.name.startswith("yuvj")
        codes = [first.colorspace, first.color_primaries, first.color_trc]
        kinds = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")
        light = [bytes(d).hex() for f in frames[:1] for d in f.side_data if d.type.name in kinds]
        return Facts(
            times=tuple(frame.pts * Fraction(frame.time_base) for frame in frames),
            audio=tuple(s.codec_context.name for s in container.streams.audio),
            subtitles=tuple(s.metadata.get("language", "") for s in container.streams.subtitles),
            chapters=tuple(
                (c["metadata"]["title"], c["start"] * c["time_base"], c["end"] * c["time_base"])
                for c in container.chapters()
            ),
            attachments=(*(s.name for s in container.streams if s.type == "attachment"), *covers),
            colour=(str(full), *(str(int(code)) for code in codes), "10 bit" if "10" in first.format.name else "8 bit"),
            hdr=tuple("there" for _ in light),
            rotation=first.rotation % 360,
            sample_aspect_ratio=Fraction(stream.sample_aspect_ratio or 1),
        )


def readers() -> list[Callable[[Path], Facts]]:
    return [facts_of_pyav, *([facts_of_ffprobe] if shutil.which("ffprobe") else [])]


def compared(before: Facts, after: Facts) -> dict[str, str]:
    """Column -> `kept`, a dash where there is nothing to keep, or what changed."""
    rows = {
        "frames": _cell(len(before.times), len(after.times)),
        "timestamps": _times_cell(before.times, after.times),
        "audio": _cell(before.audio, after.audio),
        "subtitles": _cell(before.subtitles, after.subtitles),
        "attachments": _cell(before.attachments, after.attachments),
        "colour": _colour_cell(before.colour, after.colour),
        "HDR": _cell(before.hdr, after.hdr),
        "rotation": _cell(before.rotation, after.rotation),
        "SAR": NONE if before.sample_aspect_ratio == after.sample_aspect_ratio == 1 else "",
    }
    rows["SAR"] = rows["SAR"] or _cell(before.sample_aspect_ratio, after.sample_aspect_ratio)
    near = len(before.chapters) == len(after.chapters) and all(
        one[0] == other[0] and abs(one[1] - other[1]) <= Fraction(1, 1000)
        for one, other in zip(before.chapters, after.chapters, strict=True)
    )
    rows["chapters"] = NONE if not before.chapters and not after.chapters else KEPT if near else "changed"
    return {column: rows[column] for column in COLUMNS}


def _cell(before: Any, after: Any) -> str:
    if not before and not after:
        return NONE
    return KEPT if before == after else "lost" if not after else f"{_short(before)} became {_short(after)}"


def _colour_cell(before: tuple[str, ...], after: tuple[str, ...]) -> str:
    """What the source did not say may be said of the output."""
    unsaid = ("unknown", "2", "0", "gbr")
    wrong = [f"{one} became {other}" for one, other in zip(before, after, strict=True) if one not in (*unsaid, other)]
    return ", ".join(wrong) or KEPT


def _times_cell(before: Sequence[Fraction], after: Sequence[Fraction]) -> str:
    if len(before) != len(after):
        return "other frames"
    shift = after[0] - before[0]
    worst = max(abs(new - old - shift) for old, new in zip(before, after, strict=True))
    if worst > Fraction(1, 1000):
        return f"wrong by {float(worst) * 1000:.1f} ms"
    texts = [f"moved by {float(shift):.3f} s"] if abs(shift) > Fraction(1, 2000) else []
    texts += [f"to {float(worst) * 1000:.2f} ms"] if worst else []
    return f"{KEPT} ({', '.join(texts)})" if texts else KEPT


def _short(value: Any) -> str:
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, tuple | list):
        if len(value) > 4:
            return f"[{_short(value[0])}, {_short(value[1])}, … {_short(value[-1])}]"
        return f"[{', '.join(map(_short, value))}]" if isinstance(value, list) else f"({', '.join(map(_short, value))})"
    text = json.dumps(value) if isinstance(value, dict) else str(value)
    return text if len(text) < 40 else f"{text[:36]}…"


def run_kind(kind: Kind, folder: Path) -> tuple[dict[str, str], RestoreReport]:
    """Make the source, restore it, and compare it with the output by every reader there is."""
    source, target = folder / f"source.{kind.source}", folder / f"target.{kind.target}"
    if kind.maker is not None:
        kind.maker(source)
    else:
        make_clip(source, **kind.clip)
    report = restore_video(source, target, plain_restorer(), settings=RestoreSettings(encoder=kind.encoder))
    found: dict[str, str] = {}
    for reader in readers():
        for column, text in compared(reader(source), reader(target)).items():
            # The worse word of the two readers stands.
            if found.get(column, NONE) in (NONE, KEPT) or not text.startswith((KEPT, NONE)):
                found[column] = text if text != NONE else found.get(column, NONE)
    if found["audio"] == KEPT:
        same = packet_payloads(source, "audio") == packet_payloads(target, "audio")
        found["audio"] = f"{KEPT} (same bytes)" if same else KEPT
    return found, report


@pytest.mark.parametrize("name", KINDS)
def test_what_is_kept(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    found, report = run_kind(kind, tmp_path)
    changed = {column: text for column, text in found.items() if not text.startswith((KEPT, NONE))}
    assert changed == kind.expected
    assert any(kind.said in warning for warning in (*report.warnings, "" if not kind.said else "-"))
    assert report.verification is not None
    assert report.verification.differences == ()


def markdown() -> str:
    """The whole table."""
    head = (
        "kind",
        "how made",
        "to",
        *COLUMNS[:3],
        "subtitles / chapters / attachments",
        "colour / HDR",
        "rotation / SAR",
    )
    lines = [f"| {' | '.join((*head, 'remark'))} |", f"|{'---|' * (len(head) + 1)}"]
    for name, kind in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            found, report = run_kind(kind, Path(folder))
        cells = [name, f"`{kind.how}` .{kind.source}", f".{kind.target}"]
        cells += [f"{report.frames} {found['frames']}", found["timestamps"], found["audio"]]
        cells += [" / ".join(found[column] for column in group) for group in (COLUMNS[3:6], COLUMNS[6:8], COLUMNS[8:])]
        lines.append(f"| {' | '.join([*cells, '; '.join(report.warnings) or NONE])} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
