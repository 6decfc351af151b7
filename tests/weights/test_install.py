"""Weights get into the cache whole, or the cache stays as it was."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fmanet_cli.errors import (
    ChecksumError,
    DownloadError,
    FileWriteError,
    FmanetError,
    OptionError,
    OutputExistsError,
    WeightsError,
)
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.weights.cache import (
    cache_folder,
    installed_names,
    read_record,
    remove_installed,
    verify_installed,
)
from fmanet_cli.weights.checkpoint import CheckpointMetadata, load_model, read_header, save_checkpoint
from fmanet_cli.weights.install import NewWeights, default_name, download_weights, import_weights
from fmanet_cli.weights.registry import LITE, WeightsRow

YES = "2026-01-01, in a test"


def _download(row: WeightsRow, **options: Any) -> NewWeights:
    return download_weights(row, **{"licence_accepted": YES, "first_wait_seconds": 0, **options})


def _assert_cache_is_untouched() -> None:
    assert not cache_folder().exists()


def test_download_finds_converts_and_records(
    server: Any, answer: Any, nested_zip: Path, upstream_folder: Path, tiny_model: FMANet
) -> None:
    server.answers = {
        "/share": [answer.redirect("/file")],
        "/file": [answer.status(500), answer.content(nested_zip.read_bytes())],
    }
    row = server.row("/share")
    new = _download(row)
    assert new.first_time
    model = load_model("reds")
    assert model.config == tiny_model.config
    assert model.colour_order == "bgr"
    window = torch.rand(1, 3, 3, 6, 8)
    assert torch.equal(model(window), tiny_model(window))
    digest = hashlib.sha256((upstream_folder / "model_D_best.pt").read_bytes()).hexdigest()
    metadata = read_header(new.path).metadata
    assert metadata.licence == row.licence
    assert metadata.source.endswith("/share")
    assert metadata.licence_accepted == YES
    assert metadata.source_files[2].sha256 == digest
    record = read_record("reds")
    assert record
    assert record.licence_accepted == YES
    assert record.source_files == metadata.source_files
    assert verify_installed("reds") == record.sha256
    assert sorted(path.name for path in cache_folder().iterdir()) == ["reds.json", "reds.safetensors"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<!DOCTYPE html>", "a web page instead of a file"),
        (b"PK\x03\x04 and no more", "is not a whole zip archive"),
        (b"", "is not a whole zip archive"),
    ],
)
def test_answers_that_are_no_archive(server: Any, answer: Any, body: bytes, message: str) -> None:
    server.answers["/a"] = [answer.content(body)]
    with pytest.raises(FmanetError, match=message) as caught:
        _download(server.row("/a"))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4
    _assert_cache_is_untouched()


@pytest.fixture
def own_checkpoint(tmp_path: Path, tiny_model: FMANet) -> Path:
    path = tmp_path / "published.safetensors"
    save_checkpoint(path, tiny_model, metadata=CheckpointMetadata(licence="MIT", source="a training run"))
    return path


def test_a_checkpoint_of_ours_is_downloaded_byte_by_byte(
    server: Any, answer: Any, own_checkpoint: Path, tiny_model: FMANet
) -> None:
    content = own_checkpoint.read_bytes()
    server.answers["/own"] = [answer.content(content)]
    row = replace(
        LITE,
        name="own",
        file="own.safetensors",
        url=f"{server.url}/own",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )
    new = download_weights(row, licence_accepted=None, first_wait_seconds=0)
    assert new.path.read_bytes() == content
    window = torch.rand(1, 3, 3, 6, 8)
    assert torch.equal(load_model("own")(window), tiny_model(window))
    assert verify_installed("own") == row.sha256
    with pytest.raises(ChecksumError, match=r"/own has the SHA-256 digest .*, the weights 'own' have 0{64}"):
        download_weights(replace(row, sha256="0" * 64), licence_accepted=None, first_wait_seconds=0)
    assert new.path.read_bytes() == content


def test_what_is_no_checkpoint_is_not_installed(server: Any, answer: Any) -> None:
    body = b"not a checkpoint"
    server.answers["/own"] = [answer.content(body)]
    row = replace(LITE, url=f"{server.url}/own", sha256=hashlib.sha256(body).hexdigest(), size_bytes=len(body))
    with pytest.raises(WeightsError, match=r"lite\.safetensors is not a whole safetensors file"):
        download_weights(row, licence_accepted=None, first_wait_seconds=0)
    _assert_cache_is_untouched()


def test_cut_download_of_unknown_length_is_noticed(server: Any, answer: Any, nested_zip: Path) -> None:
    server.answers["/a"] = [answer.of_unknown_length(nested_zip.read_bytes()[:-1000])]
    with pytest.raises(WeightsError, match=r"reds.zip is not a whole zip archive"):
        _download(server.row("/a"))
    _assert_cache_is_untouched()


def test_weights_that_do_not_fit_leave_the_cache_alone(upstream_folder: Path) -> None:
    content = torch.load(upstream_folder / "model_R_best.pt", weights_only=True)
    del content["model_R_state_dict"]["upsample.conv1.weight"]
    torch.save(content, upstream_folder / "model_R_best.pt")
    with pytest.raises(WeightsError, match=r"upsample.conv1.weight\) missing"):
        import_weights([upstream_folder], name="mine")
    _assert_cache_is_untouched()


def test_pin_of_the_download_or_of_the_archive_inside(
    server: Any, answer: Any, nested_zip: Path, tmp_path: Path
) -> None:
    server.answers["/a"] = [answer.content(nested_zip.read_bytes())]
    for archive in (nested_zip, tmp_path / "FMA-Net_REDS.zip"):
        digest = hashlib.sha256(archive.read_bytes()).hexdigest().upper()
        assert _download(server.row("/a"), sha256=digest).path.is_file()


def test_wrong_pin(server: Any, answer: Any, nested_zip: Path) -> None:
    server.answers["/a"] = [answer.content(nested_zip.read_bytes())]
    found = hashlib.sha256(nested_zip.read_bytes()).hexdigest()
    with pytest.raises(ChecksumError, match=rf"digest {'a' * 64} \(found: reds.zip {found}, FMA-Net_REDS.zip"):
        _download(server.row("/a"), sha256="a" * 64)
    _assert_cache_is_untouched()


def test_published_digest_is_checked(server: Any, answer: Any, nested_zip: Path) -> None:
    server.answers["/a"] = [answer.content(nested_zip.read_bytes())]
    with pytest.raises(ChecksumError, match=r"no downloaded archive has the SHA-256 digest bbb"):
        _download(server.row("/a", sha256="b" * 64))


def test_a_pin_that_is_no_digest(server: Any) -> None:
    with pytest.raises(OptionError, match=r"a SHA-256 digest has 64 hexadecimal digits, got 'abc'"):
        _download(server.row("/a"), sha256="abc")
    assert server.requests == []


def test_later_download_has_to_match_the_first_even_after_removal(
    server: Any, answer: Any, nested_zip: Path, upstream_folder: Path
) -> None:
    server.answers["/a"] = [answer.content(nested_zip.read_bytes())]
    _download(server.row("/a"))
    assert not _download(server.row("/a")).first_time
    remove_installed("reds")
    content = torch.load(upstream_folder / "model_D_best.pt", weights_only=True)
    content["model_D_state_dict"]["a_conv.2.weight"] += 1
    torch.save(content, upstream_folder / "model_D_best.pt")
    with pytest.raises(ChecksumError, match=r"of 'reds' are not those first installed on .* delete .*reds.json"):
        import_weights([upstream_folder], name="reds", licence_accepted=YES)
    assert installed_names() == ["lite"]


def test_licence_comes_before_the_network(server: Any) -> None:
    with pytest.raises(WeightsError, match=r"'reds' need your agreement first: .*LICENSE file .* says MIT"):
        _download(server.row("/a"), licence_accepted=None)
    assert server.requests == []


def test_offline(server: Any) -> None:
    with pytest.raises(DownloadError, match="the network is forbidden"):
        _download(server.row("/a"), offline=True)
    assert server.requests == []


def test_embedded_weights_are_not_downloaded() -> None:
    with pytest.raises(WeightsError, match="there is nothing to download"):
        _download(LITE)


def test_import_under_a_name(upstream_folder: Path, tiny_model: FMANet) -> None:
    new = import_weights([upstream_folder], name="mine", colour_order="rgb")
    assert not new.first_time
    assert load_model("mine").colour_order == "rgb"
    assert installed_names() == ["lite", "mine"]
    assert verify_installed("mine")
    assert load_model("mine").config == tiny_model.config


def test_import_takes_the_authors_colour_order_unless_told(upstream_folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.safetensors"
    import_weights([upstream_folder / "model_D_best.pt", upstream_folder / "model_R_best.pt"], target=target)
    header = read_header(target)
    assert header.colour_order == "bgr"
    assert (header.metadata.licence, header.metadata.source) == ("not stated", "not stated")
    _assert_cache_is_untouched()


def test_import_of_a_checkpoint_keeps_what_it_says(upstream_folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.safetensors"
    import_weights([upstream_folder], target=target, colour_order="rgb", licence="CC0", source="a walk")
    import_weights([target], name="mine")
    header = read_header(cache_folder() / "mine.safetensors")
    assert header == read_header(target)
    assert header.metadata.licence == "CC0"
    with pytest.raises(WeightsError, match="says that its colour order is rgb, not bgr"):
        import_weights([target], name="other", colour_order="bgr")


def test_import_replaces_only_when_told(upstream_folder: Path) -> None:
    import_weights([upstream_folder], name="mine")
    with pytest.raises(OutputExistsError, match=r"mine.safetensors exists: .* overwrite it"):
        import_weights([upstream_folder], name="mine")
    import_weights([upstream_folder], name="mine", colour_order="rgb", overwrite=True)
    assert load_model("mine").colour_order == "rgb"


def test_import_of_a_download_made_by_hand(nested_zip: Path) -> None:
    with pytest.raises(WeightsError, match="'reds' need your agreement first"):
        import_weights([nested_zip], name="reds")
    new = import_weights([nested_zip], name="reds", licence_accepted=YES)
    assert new.first_time
    assert load_model("reds").colour_order == "bgr"
    assert read_header(new.path).metadata.licence_accepted == YES


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lite", "'lite' is the name of weights inside the package"),
        ("../up", "cannot be named '../up'"),
        ("a.b", "'a.b'"),
    ],
)
def test_names_that_cannot_be_given(upstream_folder: Path, name: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        import_weights([upstream_folder], name=name)


def test_import_needs_one_destination(upstream_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="either a name or a target file"):
        import_weights([upstream_folder])
    with pytest.raises(OptionError, match=r"must end in .safetensors, got .*out.pt"):
        import_weights([upstream_folder], target=tmp_path / "out.pt")


def test_default_names(tmp_path: Path) -> None:
    folder = tmp_path / "My Weights"
    folder.mkdir()
    assert default_name([Path("FMA-Net_REDS.zip")]) == "fma-net_reds"
    assert default_name([folder]) == "my-weights"
    assert default_name([folder / "model_D_best.pt", folder / "model_R_best.pt"]) == "my-weights"


def test_a_file_in_the_way_of_the_cache(upstream_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FMANET_CACHE", str(tmp_path / "file"))
    with pytest.raises(FileWriteError, match=r"the folder .*file.weights cannot be made: "):
        import_weights([upstream_folder], name="mine")
