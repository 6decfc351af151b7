"""The package's own errors, each with the exit code that the command line gives it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FmanetError(Exception):
    """Base of every error that a user can cause or mend. Its text is one line: what, which value, what to do."""

    exit_code = 1

    def __init__(self, *args: object, remedy: str = "") -> None:
        """`remedy`: parameters that would mend it, such as `resume=False` or `init, recipe`, for the caller to name."""
        super().__init__(*args)
        self.remedy = remedy


class OptionError(FmanetError, ValueError):
    """An option or argument has a value that cannot be honoured."""

    exit_code = 2


class OutputExistsError(FmanetError, FileExistsError):
    """The target exists and overwriting was not asked for."""

    exit_code = 2


class VideoReadError(FmanetError, OSError):
    """A file cannot be opened or decoded as video."""

    exit_code = 3


class WeightsError(FmanetError):
    """Weights are missing, damaged or do not fit the network."""

    exit_code = 4


class ChecksumError(WeightsError):
    """A file's SHA-256 digest is not the expected one."""


class DownloadError(WeightsError):
    """A transfer failed or brought something other than weights."""


class DeviceError(FmanetError):
    """The asked device or precision is not available, fails, or its memory does not suffice."""

    exit_code = 5


class DeviceLostError(DeviceError):
    """A device computes no more: whatever else this process would restore on it fails too."""


class WorkerMismatchError(FmanetError):
    """A worker has other software, other weights or other files than the run that it should work for."""

    exit_code = 5


class VerificationError(FmanetError):
    """An output differs from what its source promises."""

    exit_code = 6


class FileWriteError(FmanetError, OSError):
    """A file cannot be written: no space, no permission, no such folder."""

    exit_code = 7


class VideoWriteError(FileWriteError):
    """An output cannot be encoded or written."""


class ResumeError(FmanetError):
    """An interrupted run cannot be resumed, or another run is at work on the same output."""

    exit_code = 2


class OutputBusyError(ResumeError):
    """Another run is at work on the same output."""


class TrainingError(FmanetError):
    """Training cannot start or cannot go on."""

    exit_code = 8


class EvaluationError(FmanetError):
    """Two sets of frames cannot be compared."""

    exit_code = 3


class UnexpectedError(FmanetError):
    """Something that should not have happened ended one of several tasks; its cause is the exception."""


def as_own(error: Exception) -> FmanetError:
    """The error itself if it is one of this package, else an `UnexpectedError` that it is the cause of."""
    if isinstance(error, FmanetError):
        return error
    unexpected = UnexpectedError(f"{type(error).__name__}: {error}")
    unexpected.__cause__ = error
    return unexpected


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant, or None."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x264'?`, the end of a line on an unknown name, where a known one is similar, else ""."""
    meant = closest(name, known)
    return f" Did you mean {meant!r}?" if meant else ""
