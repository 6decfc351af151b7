"""Transfers against a real server: retried where that helps, refused with a reason where not."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from fmanet_cli.errors import DownloadError
from fmanet_cli.weights.download import ATTEMPTS, fetch

BODY = bytes(range(256)) * 4096


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "download"


def _fetch(url: str, target: Path, **options: Any) -> None:
    fetch(url, target, first_wait_seconds=0, timeout_seconds=5, **options)


def test_plain_transfer(server: Any, answer: Any, target: Path) -> None:
    server.answers["/a"] = [answer.content(BODY)]
    _fetch(server.url + "/a", target)
    assert target.read_bytes() == BODY


def test_redirects_are_followed(server: Any, answer: Any, target: Path) -> None:
    server.answers = {"/a": [answer.redirect("/b")], "/b": [answer.redirect("/c")], "/c": [answer.content(BODY)]}
    _fetch(server.url + "/a", target)
    assert target.read_bytes() == BODY
    assert server.requests == ["/a", "/b", "/c"]


def test_server_error_is_tried_again(server: Any, answer: Any, target: Path) -> None:
    server.answers["/a"] = [answer.status(500), answer.status(503), answer.content(BODY)]
    _fetch(server.url + "/a", target)
    assert target.read_bytes() == BODY
    assert len(server.requests) == 3


def test_not_found_is_final(server: Any, answer: Any, target: Path) -> None:
    server.answers["/a"] = [answer.status(404)]
    with pytest.raises(DownloadError, match=r"/a cannot be downloaded .*: the server answered 404 Not Found"):
        _fetch(server.url + "/a", target)
    assert len(server.requests) == 1
    assert not target.exists()


def test_lasting_server_error(server: Any, answer: Any, target: Path) -> None:
    server.answers["/a"] = [answer.status(500)]
    with pytest.raises(DownloadError, match=r"the server answered 500"):
        _fetch(server.url + "/a", target)
    assert len(server.requests) == ATTEMPTS


def test_cut_connection_is_noticed_and_tried_again(server: Any, answer: Any, target: Path) -> None:
    server.answers["/a"] = [answer.content(BODY[:1000], claimed_length=len(BODY)), answer.content(BODY)]
    _fetch(server.url + "/a", target)
    assert target.read_bytes() == BODY


def test_connection_that_is_always_cut(server: Any, answer: Any, target: Path) -> None:
    server.answers["/a"] = [answer.content(BODY[:1000], claimed_length=len(BODY))]
    with pytest.raises(DownloadError, match=r"cannot be downloaded \(4 attempts\): .*1000 bytes read"):
        _fetch(server.url + "/a", target)
    assert not target.exists()


def test_nobody_answers(target: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(DownloadError, match=r"\(4 attempts\): .*refused"):
        _fetch(f"http://127.0.0.1:{port}/a", target)


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><p>Sign in", b"\n  <HTML>", b"\xef\xbb\xbf<!doctype HTML>"])
def test_web_page_in_place_of_a_file(server: Any, answer: Any, target: Path, page: bytes) -> None:
    server.answers["/a"] = [answer.content(page)]
    with pytest.raises(DownloadError, match=r"a web page instead of a file: .*fmanet weights import FILE"):
        _fetch(server.url + "/a", target)
    assert not target.exists()


@pytest.mark.parametrize("value", ["1", "true", "YES"])
def test_environment_forbids_the_network(
    server: Any, target: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("FMANET_OFFLINE", value)
    with pytest.raises(DownloadError, match=r"the network is forbidden: "):
        _fetch(server.url + "/a", target)
    assert server.requests == []


def test_environment_that_forbids_nothing(
    server: Any, answer: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMANET_OFFLINE", "0")
    server.answers["/a"] = [answer.content(BODY)]
    _fetch(server.url + "/a", target)


def test_folder_that_is_gone_is_not_tried_again(server: Any, answer: Any, target: Path) -> None:
    server.answers["/a"] = [answer.content(BODY)]
    with pytest.raises(DownloadError, match=r"\(1 attempt\): .*No such file"):
        _fetch(server.url + "/a", target / "below")


def test_bar_shows_every_byte_once(server: Any, answer: Any, target: Path) -> None:
    server.answers["/a"] = [answer.content(BODY[:1000], claimed_length=len(BODY)), answer.content(BODY)]
    with tqdm(disable=False, file=target.with_suffix(".log").open("w")) as bar:
        _fetch(server.url + "/a", target, progress=bar)
    assert (bar.n, bar.total) == (len(BODY), len(BODY))


def test_bar_without_a_known_total(server: Any, answer: Any, target: Path) -> None:
    server.answers["/a"] = [answer.of_unknown_length(BODY)]
    with tqdm(disable=False, file=target.with_suffix(".log").open("w")) as bar:
        _fetch(server.url + "/a", target, progress=bar)
    assert bar.total is None
    assert bar.n >= len(BODY)
    assert target.read_bytes() == BODY


def test_endless_transfer_is_given_up(server: Any, answer: Any, target: Path) -> None:
    server.answers["/a"] = [answer.endless(bytes(1 << 20))]
    with pytest.raises(DownloadError, match=r"/a sends more than 8 MiB"):
        _fetch(server.url + "/a", target, most_bytes=8 << 20)
    assert not target.exists()
    assert len(server.requests) == 1


def test_drip_is_given_up(server: Any, answer: Any, target: Path) -> None:
    server.answers["/a"] = [answer.endless(b"x", every_seconds=0.01)]
    with pytest.raises(DownloadError, match=r"/a sends less than 64 KiB in 1 s"):
        _fetch(server.url + "/a", target, patience_seconds=1)
    assert not target.exists()


def test_length_that_is_no_number(server: Any, answer: Any, target: Path) -> None:
    server.answers["/a"] = [answer.with_header("abc")]
    with pytest.raises(DownloadError, match=r"/a "):
        _fetch(server.url + "/a", target)
    assert not target.exists()


def test_redirects_without_end(server: Any, answer: Any, target: Path) -> None:
    server.answers["/a"] = [answer.redirect("/a")]
    with pytest.raises(DownloadError, match=r"the server redirects without end"):
        _fetch(server.url + "/a", target)
