"""What is no recording is refused in one line that says what it is."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fmanet_cli.errors import OptionError, VideoReadError
from fmanet_cli.video.read.reader import VideoReader
from fmanet_cli.video.read.sequence import existing_files, is_sequence_pattern
from support.odd_clips import record

PLAYLISTS = {
    "live.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nseg.ts\n",
    "ended.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nseg.ts\n#EXT-X-ENDLIST\n",
    "marked.m3u8": "\ufeff#EXTM3U\n#EXTINF:1,\n../seg.ts\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile seg.ts\n",
    "list.mkv": "ffconcat version 1.0\nfile seg.ts\n",
    "dash.mpd": '<?xml version="1.0"?>\n<MPD profiles="urn:mpeg:dash:profile:full:2011"><Period/></MPD>',
    "call.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "short.sdp": "c=IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_playlists_are_refused_at_once(tmp_path: Path, name: str) -> None:
    record(tmp_path / "seg.ts")
    (tmp_path / name).write_text(PLAYLISTS[name])
    code = f"from fmanet_cli.video.read.reader import VideoReader; VideoReader({str(tmp_path / name)!r})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert "VideoReadError" in ended.stderr
    assert "names" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1/a.mp4", "http:/127.0.0.1/a.mp4", "https://x/y", "rtsp://camera/1", "ftp://x/a.mkv", "srt://x:1"],
)
def test_addresses_are_named_as_such(address: str) -> None:
    with pytest.raises(VideoReadError, match="is an address; addresses are not read, download the file first"):
        VideoReader(address)


def test_a_colon_in_a_name_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "a.mp4")
    Path("Movie: part 1.mp4").write_bytes(Path("a.mp4").read_bytes())
    Path("http:").mkdir()
    Path("http:/b.mp4").write_bytes(Path("a.mp4").read_bytes())
    for name in ("Movie: part 1.mp4", "http:/b.mp4", "http://b.mp4"):
        with VideoReader(name) as reader:
            assert len(list(reader)) == 10
    with pytest.raises(VideoReadError, match=r"c:d.mp4 does not exist"):
        VideoReader("c:d.mp4")


def test_an_animated_webp_says_what_is_missing(tmp_path: Path) -> None:
    chunk = b"ANIM" + (6).to_bytes(4, "little") + bytes(6)
    body = b"WEBPVP8X" + (10).to_bytes(4, "little") + bytes([2, 0, 0, 0, 63, 0, 0, 47, 0, 0]) + chunk
    (tmp_path / "a.webp").write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
    with pytest.raises(VideoReadError, match="is an animated WebP, which FFmpeg cannot decode; convert it"):
        VideoReader(tmp_path / "a.webp")


@pytest.mark.parametrize("name", ["a" * 300 + ".mp4", "d/" * 3000 + "a.mp4", "a\0b.mp4"])
def test_names_that_no_file_can_have(name: str) -> None:
    with pytest.raises(VideoReadError, match="cannot be read"):
        VideoReader(name)


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("exists", "is_dir", "is_file", "iterdir", "open", "stat"):
        monkeypatch.setattr(Path, name, refuse)
    for name in ("a.mp4", "f%03d.png"):
        with pytest.raises(VideoReadError, match=f"{name} cannot be read: Permission denied"):
            VideoReader(name)


@pytest.mark.parametrize("stream", [None, SimpleNamespace(buffer=io.BytesIO(b""))])
def test_a_standard_input_that_is_closed_or_empty(monkeypatch: pytest.MonkeyPatch, stream: object) -> None:
    monkeypatch.setattr(sys, "stdin", stream)
    with pytest.raises(VideoReadError, match=r"standard input (is closed|cannot be read)"):
        VideoReader("-")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300, -1e300])
@pytest.mark.parametrize("name", ["start_seconds", "end_seconds"])
def test_times_that_are_no_times(tmp_path: Path, name: str, value: float) -> None:
    record(tmp_path / "a.mp4")
    with pytest.raises(OptionError, match=f"the {name[:-8]} must be a number of seconds up to"):
        VideoReader(tmp_path / "a.mp4", **{name: value})


def test_numbers_of_absurd_length(tmp_path: Path) -> None:
    name = tmp_path / "a%0999999999999d.png"
    assert is_sequence_pattern(name)
    with pytest.raises(OptionError, match="at most 99 digits"):
        existing_files(name)
