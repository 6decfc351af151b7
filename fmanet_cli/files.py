"""Files of every kind: written whole or not at all, told apart by digest and by suffix."""

from __future__ import annotations

import codecs
import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from fmanet_cli.errors import FileWriteError, OptionError, closest

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Files that are one image each; what a folder of photographs or of frames is searched for."""

VIDEO_SUFFIXES = frozenset({
    ".264", ".265", ".3g2", ".3gp", ".amv", ".apng", ".asf", ".avi", ".dav", ".divx", ".dv", ".f4v", ".flv", ".gif",
    ".h264", ".h265", ".hevc", ".insv", ".ivf", ".lrv", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg",
    ".mkv", ".mod", ".mov", ".mp4", ".mp4v", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts", ".mxf", ".nut", ".obu", ".ogm",
    ".ogv", ".qt", ".rm", ".rmvb", ".swf", ".tod", ".trp", ".ts", ".vob", ".webm", ".wmv", ".wtv", ".xvid", ".y4m",
})  # fmt: skip
"""What a folder of videos is searched for; a file that is named itself may have any suffix."""

_LONGEST_STEM = 60
_MOST_TEXT_BYTES = 1 << 26
_SAMPLE_BYTES = 1 << 20


@contextlib.contextmanager
def replacing(path: Path, *, make_folders: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place when the block ends and vanishes when it fails.

    Args:
        path: The final name.
        make_folders: Make the folders that are missing; they vanish too when the block fails.

    Raises:
        FileWriteError: the file, or something else in the block, cannot be written.
    """
    temporary = path.with_name(f".{path.stem[:_LONGEST_STEM]}-{secrets.token_hex(4)}{path.suffix}")
    with naming_failures(path), made_folders(path.parent) if make_folders else contextlib.nullcontext():
        try:
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            temporary.chmod(mode)  # safetensors makes files that only their owner may read.
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def made_folders(folder: Path, *, failure: type[FileWriteError] = FileWriteError) -> Iterator[None]:
    """Make a folder; those that had to be made go again when the block fails and leaves them empty.

    Raises:
        FileWriteError: it cannot be made; of the kind `failure`.
    """
    missing = [part for part in (folder, *folder.parents) if not os.path.lexists(part)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise failure(f"the folder {folder} cannot be made: {error.strerror or error}") from error
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for part in missing:
                part.rmdir()
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, in place of an older one.

    Raises:
        FileWriteError: it cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def naming_failures(path: Path) -> Iterator[None]:
    """Say of which file a failure of the system speaks.

    Raises:
        FileWriteError: in place of an OSError in the block.
    """
    try:
        yield
    except FileWriteError:
        raise
    except OSError as error:
        raise FileWriteError(f"{path} cannot be written: {error.strerror or error}") from error


def read_text(path: Path) -> str:
    """The text of a small file or of a pipe, in UTF-8, or in UTF-16 where it says so; without its byte order mark.

    Raises ValueError where it is no such text, OSError where it never ends.
    """
    with path.open("rb") as file:
        content = file.read(_MOST_TEXT_BYTES + 1)
    if len(content) > _MOST_TEXT_BYTES:
        raise OSError(errno.EFBIG, f"it is longer than {_MOST_TEXT_BYTES >> 20} MiB")
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is no text in UTF-8; save it as that") from error


def bytes_text(count: int | None) -> str:
    """`3.2 GB`, in powers of a thousand; `unknown` for None."""
    if count is None:
        return "unknown"
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1000:.0f} kB"


def sha256_of(*paths: Path) -> str:
    """SHA-256 digest of files one after the other, in hexadecimal; they are read in pieces. Raises OSError."""
    digest = hashlib.sha256()
    for path in paths:
        if os.path.exists(path) and not os.path.isfile(path):
            raise OSError(errno.EINVAL, "it is no regular file")
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def sibling(path: Path, name: str) -> Path:
    """A file of another name in the folder of `path`.

    Raises:
        OptionError: `path` has no name, as `.` and `/` have none.
    """
    if not path.name:
        raise OptionError(f"{path} is a folder; give a file")
    return path.with_name(name)


def similar_file(name: str | Path) -> str:
    """Return ` Did you mean 'clip.mp4'?` where the folder of a missing file has one of a similar name, else ""."""
    path = Path(name)
    try:
        found = os.listdir(path.parent)  # noqa: PTH208 - half the time of iterdir in a folder of thousands
    except (OSError, ValueError):
        return ""
    meant = closest(path.name, found)
    return f" Did you mean {str(path.with_name(meant))!r}?" if meant else ""


def sample_sha256_of(path: Path) -> str:
    """SHA-256 digest of the first, middle and last MiB of a file, in hexadecimal, however long it is. Raises OSError.

    Tells two recordings of one size apart without reading them whole.
    """
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for start in sorted({0, max(0, size - _SAMPLE_BYTES) // 2, max(0, size - _SAMPLE_BYTES)}):
            file.seek(start)
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()
