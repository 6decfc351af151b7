"""The weights commands as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from fmanet_cli.cli.weights import command
from fmanet_cli.errors import ChecksumError, DownloadError, FmanetError, OutputExistsError, WeightsError
from fmanet_cli.model.config import FMANetConfig
from fmanet_cli.model.fmanet import random_model
from fmanet_cli.weights import registry
from fmanet_cli.weights.cache import cache_folder, cached_path, read_record
from fmanet_cli.weights.checkpoint import load_model, read_header
from fmanet_cli.weights.registry import EMBEDDED_FOLDER, LITE, REDS

TINY = FMANetConfig(
    dim=6, num_rdbs=1, growth=2, num_dense_layers=1, num_flows=1, num_frma_blocks=1, num_attention_blocks=1, num_heads=1
)


def _run(*arguments: str | Path, answer: str | None = None) -> Result:
    """Run a command to success; the package's own errors pass through to the test."""
    result = CliRunner().invoke(
        command, [str(argument) for argument in arguments], input=answer, catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def authors_zip(tmp_path: Path) -> Path:
    model = random_model(TINY)
    path = tmp_path / "FMA-Net_REDS.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for part, network in (("D", model.degradation_learning_network), ("R", model.restoration_network)):
            torch.save({f"model_{part}_state_dict": network.state_dict()}, tmp_path / f"model_{part}_best.pt")
            archive.write(tmp_path / f"model_{part}_best.pt", f"x/model_{part}_best.pt")
    return path


@pytest.fixture
def reds_from_disk(authors_zip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The download brings the tiny archive instead of going anywhere."""

    def copy(_: str, target: str, __: object) -> None:
        Path(target).write_bytes(authors_zip.read_bytes())

    monkeypatch.setattr("pooch.HTTPDownloader", lambda **_: copy)


def test_list_names_everything_and_marks_the_default() -> None:
    lines = _run("list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "SIZE", "COLOUR", "LICENCE", "FOR"]
    assert lines[1].startswith("lite *  embedded       1.9 MiB  rgb     MIT")
    reds = next(number for number, line in enumerate(lines) if line.startswith("reds"))
    assert lines[reds].startswith("reds    not installed  -        bgr     MIT (LICENSE file)")
    licence = " ".join(line[40:60].strip() for line in lines[reds:])
    assert licence.strip() == "MIT (LICENSE file) or research and education only (README)"
    assert max(map(len, lines)) <= 80


def test_list_as_json() -> None:
    lite, reds = json.loads(_run("list", "--json").stdout)
    assert lite["default"] is True
    assert lite["path"] == str(EMBEDDED_FOLDER / "lite.safetensors")
    assert lite["parameters"] == 488_652
    assert reds["state"] == "not installed"
    assert reds["url"] == REDS.url
    assert reds["sha256"] is None


def test_path() -> None:
    assert _run("path", "lite").stdout == f"{EMBEDDED_FOLDER / 'lite.safetensors'}\n"


def test_download_needs_a_yes_that_nobody_can_give() -> None:
    with pytest.raises(WeightsError, match="'reds' need your agreement to the notice above: run again with --yes"):
        _run("download", "reds")
    assert not cache_folder().exists()


@pytest.mark.usefixtures("reds_from_disk")
def test_download_with_yes_shows_the_notice_and_records_the_answer() -> None:
    result = _run("download", "reds", "--yes")
    assert "README restricts code and weights to research and education" in result.stderr.replace("\n", " ")
    assert "No earlier digest is known: these were recorded" in result.stderr
    assert result.stdout == ""
    record = read_record("reds")
    assert record
    assert str(record.licence_accepted).endswith("Z, with --yes") or "+00:00, with --yes" in str(
        record.licence_accepted
    )
    assert load_model("reds").colour_order == "bgr"
    assert "is installed, SHA-256" in _run("download", "reds").stderr


@pytest.mark.usefixtures("reds_from_disk")
def test_download_asks_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmanet_cli.cli.weights._is_terminal", lambda: True)
    with pytest.raises(WeightsError, match="'reds' were not installed: the licence notice was declined"):
        _run("download", "reds", answer="n\n")
    assert not cache_folder().exists()
    _run("download", "reds", answer="y\n")
    record = read_record("reds")
    assert record
    assert str(record.licence_accepted).endswith("answered yes at the prompt")


@pytest.mark.usefixtures("reds_from_disk")
def test_download_with_a_wrong_pin() -> None:
    with pytest.raises(ChecksumError, match="no downloaded archive has the SHA-256 digest"):
        _run("download", "reds", "--yes", "--sha256", "0" * 64)
    assert not cache_folder().exists()


def test_offline_refuses_before_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DownloadError, match="the network is forbidden"):
        _run("download", "reds", "--offline")
    monkeypatch.setenv("FMANET_OFFLINE", "1")
    with pytest.raises(DownloadError, match="the network is forbidden"):
        _run("download", "reds", "--yes")


def test_download_of_embedded_and_of_unknown_weights() -> None:
    assert "there is nothing to download" in _run("download", "lite").stderr
    with pytest.raises(WeightsError, match=r"unknown weights 'rads'; .* Did you mean 'reds'\?"):
        _run("download", "rads")


def test_import_verify_and_remove(authors_zip: Path) -> None:
    result = _run("import", authors_zip, "--colour-order", "rgb", "--licence", "CC0")
    assert "fma-net_reds: " in result.stderr
    assert "parameters, 3 frames, RGB, " in result.stderr
    assert "from model_R_best.pt, SHA-256 " in result.stderr
    assert read_header(cached_path("fma-net_reds")).metadata.licence == "CC0"
    verified = _run("verify").stdout.splitlines()
    assert verified[0] == f"lite: ok, SHA-256 {LITE.sha256}"
    assert verified[1].startswith("fma-net_reds: ok, SHA-256 ")
    with pytest.raises(OutputExistsError, match="overwrite it"):
        _run("import", authors_zip)
    assert f"removed {cached_path('fma-net_reds')}" in _run("remove", "fma-net_reds").stderr
    with pytest.raises(WeightsError, match="unknown weights 'fma-net_reds'"):
        _run("path", "fma-net_reds")


def test_import_to_a_file_prints_nothing_on_stdout(authors_zip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.safetensors"
    result = _run(
        "import", authors_zip.with_name("model_D_best.pt"), authors_zip.with_name("model_R_best.pt"), "-o", target
    )
    assert result.stdout == ""
    assert load_model(target).config == TINY
    assert not cache_folder().exists()


def test_import_as_reds_asks_too(authors_zip: Path) -> None:
    with pytest.raises(WeightsError, match="need your agreement to the notice above"):
        _run("import", authors_zip, "--name", "reds")
    _run("import", authors_zip, "--name", "reds", "--yes")
    assert f"kept {cached_path('reds').with_suffix('.json')}" in _run("remove", "reds").stderr


def test_import_with_two_destinations_is_a_usage_error(authors_zip: Path) -> None:
    result = CliRunner().invoke(command, ["import", str(authors_zip), "-o", "a.safetensors", "--name", "b"])
    assert result.exit_code == 2
    assert "give either --output or --name, not both" in result.output


def test_verify_names_what_has_changed(authors_zip: Path) -> None:
    _run("import", authors_zip, "--name", "mine")
    with cached_path("mine").open("ab") as file:
        file.write(b"x")
    with pytest.raises(WeightsError, match="1 of the checked weights cannot be trusted: mine") as caught:
        _run("verify")
    assert caught.value.exit_code == 4
    assert _run("verify", "lite").stdout == f"lite: ok, SHA-256 {LITE.sha256}\n"


def test_remove_of_embedded_weights() -> None:
    with pytest.raises(WeightsError, match="part of the package and cannot be removed"):
        _run("remove", "lite")


def test_bad_archive_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "page.zip").write_bytes(b"<html>")
    with pytest.raises(FmanetError, match=r"page.zip is a web page") as caught:
        _run("import", tmp_path / "page.zip")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("reds_from_disk")
def test_a_row_without_a_notice_is_downloaded_without_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    free = replace(REDS, licence_notice=None)
    monkeypatch.setitem(registry.PRETRAINED, "reds", free)
    _run("download", "reds")
    assert load_model("reds").config == TINY


def test_listing_does_without_torch() -> None:
    code = (
        "import sys; from fmanet_cli.cli.weights import command; command(['list'], standalone_mode=False); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
