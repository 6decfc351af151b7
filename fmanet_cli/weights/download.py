"""The transfer of a file over HTTP: retried, checked for web pages, never over an existing file."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from fmanet_cli.errors import DownloadError

ATTEMPTS = 4
"""How often a transfer is tried before it is given up."""
FIRST_WAIT_SECONDS = 1.0
"""Pause before the second attempt; it doubles before each further one."""
TIMEOUT_SECONDS = 30.0
"""How long a server may stay silent."""

PATIENCE_SECONDS = 60.0
"""How long 64 KiB may take; a server that sends a byte a second is never silent."""
MOST_BYTES = 1 << 30
"""A longer file is not taken: many times the published weights with all that training kept beside them."""

_PIECE_BYTES = 1 << 16
_POLL_SECONDS = 0.2
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


class ProgressBar(Protocol):
    """What shows the transfer; a `tqdm` bar fits."""

    def reset(self, total: float | None = None) -> object:
        """Start again from nothing towards `total` bytes, or towards an unknown end."""

    def update(self, n: float = 1) -> object:
        """Count `n` further bytes."""


def require_network(url: str, *, offline: bool = False) -> None:
    """Raise `DownloadError` if `offline`, or if `FMANET_OFFLINE` is set to anything but nothing, 0, false or no."""
    if offline or os.environ.get("FMANET_OFFLINE", "").strip().lower() not in {"", "0", "false", "no"}:
        raise DownloadError(f"the network is forbidden: {url} was not downloaded", remedy="offline, FMANET_OFFLINE")


def fetch(
    url: str,
    target: Path,
    *,
    progress: ProgressBar | None = None,
    offline: bool = False,
    first_wait_seconds: float = FIRST_WAIT_SECONDS,
    timeout_seconds: float = TIMEOUT_SECONDS,
    patience_seconds: float = PATIENCE_SECONDS,
    most_bytes: int = MOST_BYTES,
) -> None:
    """Download `url` into the new file `target`; redirects are followed.

    Connection errors, transfers that were cut, and answers 429 and 5xx are tried `ATTEMPTS` times. Raises
    `DownloadError` when all failed, at once for other answers than success, for a file of more than `most_bytes`, for
    less than 64 KiB in `patience_seconds`, for a web page in place of a file, and, before anything is sent, when
    `offline` or `FMANET_OFFLINE` forbids the network.
    """
    require_network(url, offline=offline)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            transfer = _Transfer(url, target, progress=progress, timeout_seconds=timeout_seconds)
            transfer.finish(most_bytes=most_bytes, patience_seconds=patience_seconds)
            break
        except BaseException as error:
            target.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            if attempt == ATTEMPTS or not _may_pass(error):
                tries = "1 attempt" if attempt == 1 else f"{attempt} attempts"
                raise DownloadError(f"{url} cannot be downloaded ({tries}): {_reason(error)}") from error
            time.sleep(first_wait_seconds * 2 ** (attempt - 1))
    if looks_like_web_page(target):
        target.unlink()
        raise DownloadError(
            f"{url} answered with a web page instead of a file: open it in a browser, save the file and bring it in "
            "with 'fmanet weights import FILE'"
        )


def looks_like_web_page(path: Path) -> bool:
    """Whether a file starts like HTML."""
    with path.open("rb") as file:
        start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<!--"))


class _Transfer(threading.Thread):
    """One attempt beside its caller, who can give it up however slowly the server speaks."""

    def __init__(self, url: str, target: Path, *, progress: ProgressBar | None, timeout_seconds: float) -> None:
        super().__init__(name="download", daemon=True)
        self._url, self._target, self._progress, self._timeout = url, target, progress, timeout_seconds
        self._given_up = threading.Event()
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Take the file; what goes wrong is kept for the caller."""
        import pooch

        bar = _TransferBar(self._progress) if self._progress is not None else False
        downloader = pooch.HTTPDownloader(
            progressbar=bar, chunk_size=_PIECE_BYTES, timeout=self._timeout, hooks={"response": self._bound}
        )
        try:
            downloader(self._url, str(self._target), None)
        except BaseException as error:
            self._failure = error

    def finish(self, *, most_bytes: int, patience_seconds: float) -> None:
        """Wait for the end. Raises what the transfer raised, or DownloadError for one that is too large or too slow."""
        seen_bytes, since = 0, time.monotonic()
        self.start()
        try:
            while self.is_alive():
                self.join(_POLL_SECONDS)
                size_bytes = self._target.stat().st_size if self._target.exists() else 0
                if size_bytes > most_bytes:
                    raise DownloadError(
                        f"{self._url} sends more than {most_bytes >> 20} MiB, which no such weights have"
                    )
                if size_bytes - seen_bytes >= _PIECE_BYTES:
                    seen_bytes, since = size_bytes, time.monotonic()
                elif time.monotonic() - since > patience_seconds and self.is_alive():
                    least = f"{_PIECE_BYTES >> 10} KiB in {patience_seconds:.0f} s"
                    raise DownloadError(f"{self._url} sends less than {least}: try again later")
        finally:
            self._given_up.set()
        if isinstance(self._failure, ValueError) and not isinstance(self._failure, OSError):
            raise DownloadError(
                f"{self._url} answers with a length that is no number: {self._failure}"
            ) from self._failure
        if self._failure is not None:
            raise self._failure

    def _bound(self, response: Any, *_: object, **__: object) -> None:
        """End the transfer at its next piece when it was given up."""
        pieces = response.iter_content

        def iterate(*sizes: Any, **choices: Any) -> Iterator[bytes]:
            for piece in pieces(*sizes, **choices):
                if self._given_up.is_set():
                    return
                yield piece

        response.iter_content = iterate


def _may_pass(error: OSError) -> bool:
    """Whether another attempt may succeed: not after the server's plain no, nor where this machine cannot write."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is None:
        return error.errno is None
    return status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR


def _reason(error: OSError) -> str:
    response = getattr(error, "response", None)
    if response is not None and response.is_redirect:
        return "the server redirects without end"
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}"
    return " ".join(str(error).split()) or type(error).__name__


class _TransferBar:
    """Translates the calls that pooch makes on a bar: it sets `total`, counts whole pieces, and counts all again."""

    def __init__(self, progress: ProgressBar) -> None:
        self._progress = progress
        self._missing: float = 0
        self._known = False

    @property
    def total(self) -> float:
        return self._missing

    @total.setter
    def total(self, value: float) -> None:
        self._known, self._missing = value > 0, value
        self._progress.reset(total=value or None)

    def update(self, n: float) -> None:
        step = min(n, self._missing) if self._known else n
        self._missing -= step
        self._progress.update(step)

    def reset(self) -> None:
        """Pooch announces its closing count, which repeats what was counted."""
        self._known, self._missing = True, 0

    def close(self) -> None:
        """The bar belongs to whoever made it."""
