"""How often a run opens its files: a network drive or a slow disk reads them no more often than needed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import av
import pytest

from fmanet_cli.restore.job import restore_video
from fmanet_cli.restore.settings import RestoreSettings
from fmanet_cli.video.contents import probe
from fmanet_cli.video.write.codecs import EncoderOptions
from support.fuzz_runs import plain_restorer
from support.odd_clips import record


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Name of a file -> how often FFmpeg has opened it for reading."""
    found: Counter[str] = Counter()
    original = av.open

    def counting(file: Any, mode: str | None = None, *args: Any, **options: Any) -> Any:
        if mode != "w" and isinstance(file, str):
            found[Path(file.removeprefix("file:")).name] += 1
        return original(file, mode, *args, **options)

    monkeypatch.setattr(av, "open", counting)
    return found


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.flv"])
def test_no_step_opens_a_file_that_another_has_open(tmp_path: Path, opened: Counter[str], name: str) -> None:
    source = tmp_path / name
    codec, sound = {".flv": ("flv", "mp3"), ".avi": ("mpeg4", "mp3")}.get(source.suffix, ("libx264", "aac"))
    record(source, codec=codec, sound=sound, sound_seconds=0.4)
    opened.clear()
    restore_video(
        source, tmp_path / "b.mkv", plain_restorer(), settings=RestoreSettings(encoder=EncoderOptions(preset="fast"))
    )
    outputs = sum(count for file, count in opened.items() if file.endswith(".mkv") and file != name)
    # The source: decoding, copying, one look at all packets. The output: one look at all packets, decoding.
    assert opened[name] <= 3
    assert outputs <= 2


def test_looking_into_a_file_opens_it_a_few_times(tmp_path: Path, opened: Counter[str]) -> None:
    record(tmp_path / "a.mkv", sound="aac", sound_seconds=0.4)
    opened.clear()
    probe(tmp_path / "a.mkv")
    assert opened["a.mkv"] <= 3
