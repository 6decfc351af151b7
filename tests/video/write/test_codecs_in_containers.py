"""Every codec in every container that claims it: what the tables say is what a file shows.

A codec or container that is added to its table is tested here without another line.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from fmanet_cli.verify.compare import Expectation, verify
from fmanet_cli.verify.result import Verdict
from fmanet_cli.video.frames import VideoInfo
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.write.codecs import CODECS, Codec, EncoderOptions, find_codec
from fmanet_cli.video.write.containers import CONTAINERS, Container, container_of
from fmanet_cli.video.write.segments import SegmentFolder
from fmanet_cli.video.write.trial import encoder_fault
from fmanet_cli.video.write.writer import VideoWriter
from support.clips import make_clip, number_of

PAIRS = [
    pytest.param(codec, container, id=f"{codec.name}-{container.name}")
    for container in CONTAINERS
    for codec in CODECS.values()
    if codec.family in container.families
]
COUNT, SEGMENT_FRAMES = 10, 4
TAGS = (9, 1, 9, 16)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Clips at a variable rate with all that a container may or may not hold: upright, and turned by 90 degrees."""
    folder = tmp_path_factory.mktemp("sources")
    pts = [0, 512, 1024, 1400, 2048, 4096, 4100, 5120, 6000, 6400]
    for name, rotation in (("upright", None), ("turned", 90)):
        make_clip(
            folder / f"{name}.mkv",
            count=COUNT,
            height=80,
            width=96,
            pts=pts,
            last_duration=512,
            tags=TAGS,
            sample_aspect_ratio=Fraction(4, 3),
            rotation=rotation,
            audio=["flac"],
            subtitles=[(0.1, 0.3, "one")],
            chapters=[(0, 0.2, "x")],
            attachment=b"font",
            metadata={"title": "A title"},
        )
    return {name: folder / f"{name}.mkv" for name in ("upright", "turned")}


def restored(source: Path, target: Path, codec: Codec, container: Container, folder: Path) -> tuple[VideoInfo, int]:
    """Write a copy of the same size in closed pieces; return the source's facts and how many pieces there were."""
    if fault := encoder_fault(codec.name):
        pytest.skip(f"{codec.name} cannot be started here: {fault}")
    segments = SegmentFolder(folder, frames=SEGMENT_FRAMES)
    with VideoReader(source) as reader:
        asked = EncoderOptions(codec=codec.name)
        with VideoWriter(target, like=reader.info, scale=1, encoder=asked, segments=segments) as writer:
            for frame in reader:
                writer.write(frame)
            pieces = len(list(folder.glob("*.segment")))
        return reader.info, pieces


@pytest.mark.parametrize(("codec", "container"), PAIRS)
def test_a_pair_keeps_what_the_tables_claim(
    codec: Codec, container: Container, sources: dict[str, Path], tmp_path: Path
) -> None:
    target, folder = tmp_path / f"out{container.suffixes[0]}", tmp_path / "pieces"
    folder.mkdir()
    before, pieces = restored(sources["upright"], target, codec, container, folder)
    assert (pieces > 0) == (container.has_timestamps and codec.family != "rawvideo"), "a crash would lose everything"
    expectation = Expectation(scale=1, encoder=EncoderOptions(codec=codec.name))
    result = verify(sources["upright"], target, expectation=expectation)
    assert not [row for row in result.rows if row.verdict is Verdict.DIFFERS]
    with VideoReader(target) as reader:
        frames, after = list(reader), reader.info
    assert after.codec == codec.family
    assert [number_of(frame.image) for frame in frames] == list(range(COUNT))
    assert (after.sample_aspect_ratio == before.sample_aspect_ratio) == (codec.family in container.aspect_families)
    colour = after.stated
    is_tagged = (colour.matrix, colour.full_range, colour.primaries, colour.transfer) == (9, False, 9, 16)
    assert is_tagged == (container.holds_colour_tags and codec.family not in container.untagged_families)
    assert bool(after.chapters) == container.holds_chapters
    assert (after.metadata.get("title") == "A title") == container.holds_metadata
    kinds = Counter(stream.kind for stream in after.streams)
    assert (kinds["attachment"] == 1) == container.holds_attachments
    assert (kinds["audio"] == 1) == bool(container.audio_codec)
    assert (kinds["subtitle"] == 1) == bool(container.text_codec)
    if container.name in ("mp4", "mov", "matroska", "webm"):
        counted = verify(sources["upright"], target, expectation=expectation, decodes=False)
        assert counted.output_times == "packets", "one packet of this codec is not known to be one frame"


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: container.name)
def test_a_container_holds_the_rotation_or_the_pixels_are_turned(
    container: Container, sources: dict[str, Path], tmp_path: Path
) -> None:
    target, folder = tmp_path / f"out{container.suffixes[0]}", tmp_path / "pieces"
    folder.mkdir()
    before, _ = restored(sources["turned"], target, find_codec(container.default_codec), container, folder)
    with VideoReader(target) as reader:
        after = reader.info
    assert (after.display_matrix == before.display_matrix) == container.holds_rotation
    assert ((after.height, after.width) == (before.height, before.width)) == container.holds_rotation


def test_the_tables_agree_with_each_other() -> None:
    families = {codec.family for codec in CODECS.values()}
    for container in CONTAINERS:
        assert set(container.families) <= families, container.name
        assert set(container.aspect_families) | set(container.untagged_families) <= set(container.families)
        assert CODECS[container.default_codec].family in container.families, container.name
        assert all(container_of(Path(f"a{suffix}")) is container for suffix in container.suffixes)
    assert families == {family for container in CONTAINERS for family in container.families}
    names = [name for codec in CODECS.values() for name in (codec.name, *codec.short_names)]
    assert len(names) == len(set(names))
    assert {codec.name for codec in CODECS.values() if codec.segments_in is None} == {"rawvideo"}
