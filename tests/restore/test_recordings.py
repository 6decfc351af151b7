"""Sound, text and marks of recordings as people have them: each is kept, or said to be left out, before the run."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from fmanet_cli.restore.job import RestoreReport, RestoreSettings, restore_video
from fmanet_cli.verify.compare import verify
from fmanet_cli.video.contents import probe
from fmanet_cli.video.write.codecs import EncoderOptions
from support.fuzz_runs import plain_restorer
from support.odd_clips import record

FAST = EncoderOptions(preset="ultrafast")


def restored(source: Path, target: Path, encoder: EncoderOptions = FAST, **settings: object) -> RestoreReport:
    """A run with the network replaced by plain upscaling; it raises where the result is not what was promised."""
    return restore_video(source, target, plain_restorer(), settings=RestoreSettings(encoder=encoder, **settings))


def unknown_sound(path: Path) -> Path:
    """A film whose sound is of a codec that nobody knows, as spatial audio of phones and the codecs of recorders."""
    sound, names = {
        ".mp4": ("ac3", (b"ac-3", b"apac")),
        ".mov": ("pcm_s16le", (b"sowt", b"qqqq")),
        ".mkv": ("flac", (b"A_FLAC", b"A_QQQQ")),
        ".avi": ("mp2", (b"\x50\0\2\0\x44\xac", b"\xe7\xe6\2\0\x44\xac")),
    }[path.suffix]
    record(path, sound=sound, sound_seconds=0.4)
    path.write_bytes(path.read_bytes().replace(*names))
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context is None
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi"])
@pytest.mark.parametrize("audio", ["copy", "aac"])
def test_sound_of_an_unknown_codec_is_left_out_with_a_word(tmp_path: Path, suffix: str, audio: str) -> None:
    source = unknown_sound(tmp_path / f"a{suffix}")
    lost = "audio stream 1 is left out: its codec is not known here"
    assert lost in probe(source, target="mkv", audio=audio).losses.lost
    for target in (tmp_path / "b.mkv", tmp_path / "b.mp4"):
        assert lost in restored(source, target, audio=audio).warnings
        assert not verify(source, target).differences
