"""The one way to the terminal: no file name or tag steers it, and one that is closed stops no run."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

import click

from fmanet_cli.errors import VideoWriteError

if TYPE_CHECKING:
    from tqdm import tqdm

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""C0 and C1 but for tab and line feed, bidirectional overrides, and bytes of names that are not UTF-8."""

_BYTE_SURROGATES = range(0xDC80, 0xDD00)
_LONGEST_LINE = 1200

READER_GONE_EXIT_CODE = 141
"""What a shell says of a program that SIGPIPE has ended."""


def printable(text: str) -> str:
    """The text with every character that could steer a terminal as an escape, such as `\\x1b`."""
    return _STEERING.sub(_escape, text)


def one_line(error: BaseException | str) -> str:
    """A message as one printable line, the middle of a very long one left out."""
    text = printable(" ".join(str(error).split()))
    half = _LONGEST_LINE // 2
    return text if len(text) <= _LONGEST_LINE else f"{text[:half]} ... {text[-half:]}"


def frames_text(count: int) -> str:
    """`1 frame`, `2 frames`."""
    return f"{count} frame{'' if count == 1 else 's'}"


def is_or_are(count: int) -> str:
    """The verb that goes with a number of things."""
    return "is" if count == 1 else "are"


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text. Standard error that is closed or full is passed over.

    Raises as `writing`.
    """
    with writing(err=err):
        click.echo(printable(text), err=err, nl=nl)


@contextlib.contextmanager
def writing(*, err: bool) -> Iterator[None]:
    """Turn what a stream answers within the block into an own error, or, for standard error, into nothing.

    Raises:
        VideoWriteError: standard output is closed or full.
        click.exceptions.Exit: whoever read standard output has enough, as `head` does; nothing is said of it.
    """
    stream = sys.stderr if err else sys.stdout
    if stream is None and not err:
        raise VideoWriteError("standard output is closed")
    try:
        yield
    except OSError as error:
        if isinstance(error, VideoWriteError):
            raise
        _silence(stream)
        if isinstance(error, BrokenPipeError) and not err:
            raise click.exceptions.Exit(READER_GONE_EXIT_CODE) from error
        if not err:
            raise VideoWriteError(f"standard output cannot be written: {error.strerror or error}") from error


def make_bar(**options: Any) -> tqdm[Any]:
    """A progress bar on standard error."""
    from tqdm import tqdm

    if "desc" in options:
        options["desc"] = one_line(options["desc"])
    return tqdm(file=_Forgiving(sys.stderr), **options)


def say_above(bar: tqdm[Any], text: str) -> None:
    """Print a line above a bar that goes on."""
    bar.write(printable(text), file=_Forgiving(sys.stderr))


def begin_logging(*, verbose: bool) -> None:
    """Show warnings of the libraries below; of this program everything, where that is asked for."""
    handler = logging.StreamHandler(_Forgiving(sys.stderr))
    handler.setFormatter(_PrintableFormatter("%(message)s"))
    logging.basicConfig(level=logging.ERROR, handlers=[handler], force=True)
    logging.getLogger("fmanet_cli").setLevel(logging.DEBUG if verbose else logging.WARNING)


def keep_descriptors() -> None:
    """Fill the places of closed standard streams, so that no file that is opened later is taken for one."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


class _PrintableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _Forgiving:
    """A text stream, perhaps closed or full, that never fails."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.flush()

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Forgiving) and other._stream is self._stream

    def __hash__(self) -> int:
        return id(self._stream)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code in _BYTE_SURROGATES:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _silence(stream: TextIO | None) -> None:
    """What waits in the stream would fail again when the interpreter ends, and change the exit code."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        assert stream is not None
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
