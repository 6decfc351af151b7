"""Files are written whole or not at all, whatever writes them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from fmanet_cli.errors import FileWriteError
from fmanet_cli.files import replacing, sample_sha256_of, sha256_of, write_text


def test_a_text_replaces_an_older_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    write_text(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileWriteError, match=r"nowhere.report\.json cannot be written: No such file") as caught:
        write_text(tmp_path / "nowhere" / "report.json", "new")
    assert caught.value.exit_code == 7


def test_a_full_disk_leaves_the_old_file_and_no_folders(tmp_path: Path) -> None:
    path = tmp_path / "made" / "for" / "it.json"

    def write() -> None:
        with replacing(path, make_folders=True) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FileWriteError, match=r"it\.json cannot be written: No space left on device"):
        write()
    assert list(tmp_path.iterdir()) == []
    path.parent.mkdir(parents=True)
    path.write_text("old")
    with pytest.raises(FileWriteError):
        write()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_any_other_failure_passes_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a.json"):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_files_in_turn_have_the_digest_of_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"ab")
    (tmp_path / "b").write_bytes(b"c")
    assert sha256_of(tmp_path / "a", tmp_path / "b").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_a_sample_tells_files_of_one_size_apart(tmp_path: Path) -> None:
    path, size = tmp_path / "a", 10 << 20
    path.write_bytes(bytes(size))
    whole = sample_sha256_of(path)
    for place, is_seen in ((0, True), (size // 2, True), (size - 1, True), (size // 4, False)):
        with path.open("r+b") as file:
            file.seek(place)
            file.write(b"x")
        assert (sample_sha256_of(path) != whole) == is_seen
        with path.open("r+b") as file:
            file.seek(place)
            file.write(b"\0")
    for small in (b"", b"1", bytes(3 << 20)):
        path.write_bytes(small)
        before = sample_sha256_of(path)
        path.write_bytes(small[:-1] + b"2")
        assert sample_sha256_of(path) != before
