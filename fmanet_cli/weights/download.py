"""The transfer of a file over HTTP: retried, checked for web pages, never over an existing file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Protocol

from fmanet_cli.errors import DownloadError

ATTEMPTS = 4
"""How often a transfer is tried before it is given up."""
FIRST_WAIT_SECONDS = 1.0
"""Pause before the second attempt; it doubles before each further one."""
TIMEOUT_SECONDS = 30.0
"""How long a server may stay silent."""

_PIECE_BYTES = 1 << 18
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


class ProgressBar(Protocol):
    """What shows the transfer; a ``tqdm`` bar fits."""

    def reset(self, total: float | None = None) -> object:
        """Start again from nothing towards ``total`` bytes, or towards an unknown end."""

    def update(self, n: float = 1) -> object:
        """Count ``n`` further bytes."""


def require_network(url: str, *, offline: bool = False) -> None:
    """Raise `DownloadError` if ``offline``, or if ``FMANET_OFFLINE`` is set to anything but nothing, 0, false or no."""
    if offline or os.environ.get("FMANET_OFFLINE", "").strip().lower() not in {"", "0", "false", "no"}:
        raise DownloadError(f"the network is forbidden (--offline or FMANET_OFFLINE): {url} was not downloaded")


def fetch(
    url: str,
    target: Path,
    *,
    progress: ProgressBar | None = None,
    offline: bool = False,
    first_wait_seconds: float = FIRST_WAIT_SECONDS,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> None:
    """Download ``url`` into the new file ``target``; redirects are followed.

    Connection errors, transfers that were cut, and answers 429 and 5xx are tried `ATTEMPTS` times. Raises
    `DownloadError` when all failed, at once for other answers than success, for a web page in place of a file, and,
    before anything is sent, when ``offline`` or ``FMANET_OFFLINE`` forbids the network.
    """
    require_network(url, offline=offline)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _transfer(url, target, progress=progress, timeout_seconds=timeout_seconds)
            break
        except OSError as error:
            target.unlink(missing_ok=True)
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


def _transfer(url: str, target: Path, *, progress: ProgressBar | None, timeout_seconds: float) -> None:
    import pooch

    bar = _TransferBar(progress) if progress is not None else False
    downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=_PIECE_BYTES, timeout=timeout_seconds)
    downloader(url, str(target), None)


def _may_pass(error: OSError) -> bool:
    """Whether another attempt may succeed: not after the server's plain no, nor where this machine cannot write."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is None:
        return error.errno is None
    return status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR


def _reason(error: OSError) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}"
    return " ".join(str(error).split()) or type(error).__name__


class _TransferBar:
    """Translates the calls that pooch makes on a bar: it sets ``total``, counts whole pieces, and counts all again."""

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
