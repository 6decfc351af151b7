"""Installed weights are found, verified and removed by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fmanet_cli.errors import ChecksumError, WeightsError
from fmanet_cli.weights.cache import (
    cache_folder,
    cached_path,
    find_row,
    installed_path,
    read_record,
    record_path,
    remove_installed,
    verify_installed,
)
from fmanet_cli.weights.install import import_weights
from fmanet_cli.weights.listing import list_weights
from fmanet_cli.weights.registry import LITE


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FMANET_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "weights"
    monkeypatch.setenv("FMANET_CACHE", "")
    assert cache_folder().parent.name == "fmanet"


def test_embedded_weights_are_verified_against_the_table() -> None:
    assert verify_installed("lite") == LITE.sha256


def test_changed_file_is_noticed(upstream_folder: Path) -> None:
    path = import_weights([upstream_folder], name="mine").path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ChecksumError, match=r"mine.safetensors has changed: SHA-256 is \w+, expected \w+"):
        verify_installed("mine")


def test_file_without_a_record(upstream_folder: Path) -> None:
    import_weights([upstream_folder], name="mine")
    record_path("mine").unlink()
    with pytest.raises(ChecksumError, match="has no recorded digest"):
        verify_installed("mine")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"source_files": [{}]}', '{"source_files": [], "more": 1}'])
def test_damaged_record(content: str) -> None:
    record_path("mine").parent.mkdir(parents=True)
    record_path("mine").write_text(content, encoding="utf-8")
    with pytest.raises(WeightsError, match=r"mine.json cannot be read as a record of weights"):
        read_record("mine")


def test_removed_weights_are_gone(upstream_folder: Path) -> None:
    import_weights([upstream_folder], name="mine")
    remove_installed("mine")
    assert list(cache_folder().iterdir()) == []
    with pytest.raises(WeightsError, match="unknown weights 'mine'"):
        installed_path("mine")


def test_embedded_weights_stay() -> None:
    with pytest.raises(WeightsError, match="'lite' are part of the package and cannot be removed"):
        remove_installed("lite")


def test_names_are_no_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMANET_CACHE", str(tmp_path))
    (tmp_path / "outside.safetensors").write_bytes(b"")
    cached_path("a").parent.mkdir()
    with pytest.raises(WeightsError, match=r"unknown weights '../outside'"):
        remove_installed("../outside")


def test_unknown_row() -> None:
    with pytest.raises(WeightsError, match=r"unknown weights 'redz'; .* Did you mean 'reds'\?"):
        find_row("redz")


def test_listing_tells_all_names(upstream_folder: Path) -> None:
    import_weights([upstream_folder], name="mine", licence="CC0")
    cached_path("broken").write_bytes(b"no weights")
    listed = {weights.name: weights for weights in list_weights()}
    assert list(listed) == ["lite", "reds", "broken", "mine"]
    assert [weights.state for weights in listed.values()] == ["embedded", "not installed", "installed", "installed"]
    assert [weights.default for weights in listed.values()] == [True, False, False, False]
    assert (listed["mine"].colour_order, listed["mine"].licence) == ("bgr", "CC0")
    assert listed["broken"].colour_order == "?"


def test_names_and_transfers_do_without_torch() -> None:
    code = (
        "import sys; import fmanet_cli.weights.listing as l, fmanet_cli.weights.download; l.list_weights(); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
