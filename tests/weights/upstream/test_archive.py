"""The two weights files are found wherever they lie, and hostile archives do no harm."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest

from fmanet_cli.errors import WeightsError
from fmanet_cli.weights.upstream import archive as archive_module
from fmanet_cli.weights.upstream.archive import UpstreamPair, find_upstream_pair


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def _contents(pair: UpstreamPair) -> list[bytes]:
    return [pair.degradation.read_bytes(), pair.restoration.read_bytes()]


def _originals(folder: Path) -> list[bytes]:
    return [(folder / f"model_{part}_best.pt").read_bytes() for part in "DR"]


def _zip(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_nested_zips(nested_zip: Path, upstream_folder: Path, scratch: Path) -> None:
    pair = find_upstream_pair([nested_zip], scratch=scratch)
    assert _contents(pair) == _originals(upstream_folder)
    assert [file.name for file in pair.source_files] == [
        "shared.zip",
        "FMA-Net_REDS.zip",
        "model_D_best.pt",
        "model_R_best.pt",
    ]
    assert pair.source_files[0].sha256 == hashlib.sha256(nested_zip.read_bytes()).hexdigest()
    assert pair.source_files[3].sha256 == hashlib.sha256(_originals(upstream_folder)[1]).hexdigest()


def test_folder_of_folders(upstream_folder: Path, scratch: Path) -> None:
    pair = find_upstream_pair([upstream_folder.parent.parent], scratch=scratch)
    assert _contents(pair) == _originals(upstream_folder)


def test_zip_and_its_unpacked_copy_are_one_pair(nested_zip: Path, upstream_folder: Path, scratch: Path) -> None:
    shutil.copy(nested_zip, upstream_folder)
    assert _contents(find_upstream_pair([upstream_folder], scratch=scratch)) == _originals(upstream_folder)


def test_best_is_preferred_to_latest(upstream_folder: Path, scratch: Path) -> None:
    for part in "DR":
        (upstream_folder / f"model_{part}_latest.pt").write_bytes(b"later")
    assert _contents(find_upstream_pair([upstream_folder], scratch=scratch)) == _originals(upstream_folder)


def test_resource_forks_are_ignored(upstream_folder: Path, scratch: Path) -> None:
    (upstream_folder / "._model_D_best.pt").write_bytes(b"fork")
    assert _contents(find_upstream_pair([upstream_folder], scratch=scratch)) == _originals(upstream_folder)


def test_different_pairs_are_not_guessed_between(upstream_folder: Path, scratch: Path) -> None:
    for part in "DR":
        (upstream_folder.parent / f"model_{part}_best.pt").write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"2 different pairs, in \. \(best\), FMA-Net_REDS \(best\): give the two"):
        find_upstream_pair([upstream_folder.parent], scratch=scratch)


def test_half_a_pair(upstream_folder: Path, scratch: Path) -> None:
    (upstream_folder / "model_R_best.pt").unlink()
    with pytest.raises(WeightsError, match=r"does not hold both .* \(found: model_D_best.pt\)"):
        find_upstream_pair([upstream_folder], scratch=scratch)


def test_no_pair(tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(WeightsError, match=r"does not hold both .* \(found: neither\)"):
        find_upstream_pair([_zip(tmp_path / "a.zip", {"readme.txt": b""})], scratch=scratch)


def test_one_file_alone(upstream_folder: Path, scratch: Path) -> None:
    with pytest.raises(WeightsError, match=r"or the two files model_D_\*.pt and model_R_\*.pt: model_D_best.pt"):
        find_upstream_pair([upstream_folder / "model_D_best.pt"], scratch=scratch)


def test_missing_path(tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no file or folder .*gone.zip"):
        find_upstream_pair([tmp_path / "gone.zip"], scratch=scratch)


def test_truncated_zip(nested_zip: Path, scratch: Path) -> None:
    nested_zip.write_bytes(nested_zip.read_bytes()[:-50])
    with pytest.raises(WeightsError, match=r"shared.zip is not a whole zip archive"):
        find_upstream_pair([nested_zip], scratch=scratch)


@pytest.mark.usefixtures("nested_zip")
def test_truncated_inner_zip_is_the_one_named(tmp_path: Path, scratch: Path) -> None:
    inner = (tmp_path / "FMA-Net_REDS.zip").read_bytes()
    outer = _zip(tmp_path / "outer.zip", {"FMA-Net_REDS.zip": inner[:-50]})
    with pytest.raises(WeightsError, match=r"^FMA-Net_REDS.zip is not a whole zip archive"):
        find_upstream_pair([outer], scratch=scratch)


def test_changed_byte_in_a_zip(nested_zip: Path, scratch: Path) -> None:
    content = bytearray(nested_zip.read_bytes())
    content[len(content) // 2] ^= 0xFF
    nested_zip.write_bytes(content)
    with pytest.raises(WeightsError, match=r"is not a whole zip archive"):
        find_upstream_pair([nested_zip], scratch=scratch)


def test_web_page_saved_as_zip(tmp_path: Path, scratch: Path) -> None:
    page = tmp_path / "FMA-Net_REDS.zip"
    page.write_bytes(b"\n<!DOCTYPE html><title>Sign in</title>")
    with pytest.raises(WeightsError, match=r"FMA-Net_REDS.zip is a web page, not a zip archive"):
        find_upstream_pair([page], scratch=scratch)


@pytest.mark.parametrize(
    "name",
    [
        "../model_D_best.pt",
        "a/../../model_D_best.pt",
        "/etc/model_D_best.pt",
        "C:/model_D_best.pt",
        "..\\model_D_best.pt",
    ],
)
def test_zip_slip(tmp_path: Path, scratch: Path, name: str) -> None:
    with pytest.raises(WeightsError, match=r"evil.zip holds the entry .* points outside: nothing was unpacked"):
        find_upstream_pair([_zip(tmp_path / "evil.zip", {name: b"x", "model_R_best.pt": b"x"})], scratch=scratch)
    assert list(scratch.iterdir()) == []


def test_zip_bomb(tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "UNPACKED_LIMIT_BYTES", 3 << 20)
    bomb = _zip(tmp_path / "bomb.zip", {"model_D_best.pt": bytes(2 << 20), "model_R_best.pt": bytes(2 << 20)})
    assert bomb.stat().st_size < 10_000
    with pytest.raises(WeightsError, match=r"bomb.zip unpacks to more than 3 MiB"):
        find_upstream_pair([bomb], scratch=scratch)


def test_endless_nesting(tmp_path: Path, scratch: Path) -> None:
    path = _zip(tmp_path / "0.zip", {"readme.txt": b""})
    for depth in range(1, 12):
        path = _zip(tmp_path / f"{depth}.zip", {path.name: path.read_bytes()})
    with pytest.raises(WeightsError, match=r"3.zip lies more than 8 archives deep"):
        find_upstream_pair([path], scratch=scratch)


def test_too_many_entries(tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "ENTRIES_LIMIT", 3)
    with pytest.raises(WeightsError, match=r"has 4 entries, more than 3"):
        find_upstream_pair([_zip(tmp_path / "a.zip", {str(index): b"" for index in range(4)})], scratch=scratch)


def test_disk_that_is_full(nested_zip: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fmanet_cli.weights.upstream.archive._Search._copy", fail)
    with pytest.raises(WeightsError, match=r"shared.zip cannot be unpacked: .*No space left"):
        find_upstream_pair([nested_zip], scratch=scratch)
