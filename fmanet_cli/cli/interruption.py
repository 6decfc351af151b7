"""Ctrl-C, SIGTERM and SIGHUP: each ends a run in order, with a last line and an exit code of its own."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click

from fmanet_cli.cli.terminal import frames_text, is_or_are

_BASE_EXIT_CODE = 128
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals besides Ctrl-C by which a run is ended, as far as the system has them."""


class Interruption(KeyboardInterrupt):
    """What a signal raises where the program is at work."""

    def __init__(self, number: int = signal.SIGINT, remark: str = "") -> None:
        super().__init__()
        self.exit_code = _BASE_EXIT_CODE + number
        """130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        self.remark = remark
        """What is kept, and how to go on."""

    @classmethod
    def of(cls, error: BaseException | None, remark: str = "") -> Interruption:
        """Another one for the same signal."""
        new = cls(remark=remark or getattr(error, "remark", ""))
        new.exit_code = getattr(error, "exit_code", new.exit_code)
        return new


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP are as Ctrl-C; what the caller ignores (nohup) stays ignored.

    After any of them what is running is closed in order; Ctrl-C then ends the process at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupt = signal.getsignal(signal.SIGINT)
    ours = [number for number in _ENDING if signal.getsignal(number) == signal.SIG_DFL]

    def stop(number: int, _frame: FrameType | None) -> None:
        # Cleaning up is not disturbed again: a system that goes down sends both.
        for other in ours:
            signal.signal(other, signal.SIG_IGN)
        if interrupt == signal.default_int_handler:
            signal.signal(signal.SIGINT, _stop_at_once)
        raise Interruption(number)

    for number in ours:
        signal.signal(number, stop)
    if interrupt == signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, interrupt)
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def noting_signals(noted: list[int]) -> Iterator[None]:
    """Within the block the first Ctrl-C, SIGTERM or SIGHUP is only added to the list; a second one is as outside."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    outside = {number: handler for number in (signal.SIGINT, *_ENDING) if callable(handler := signal.getsignal(number))}

    def leave() -> None:
        for number, handler in outside.items():
            signal.signal(number, handler)

    def note(number: int, _frame: FrameType | None) -> None:
        leave()
        noted.append(number)
        os.write(2, b"\nsaving after this step; once more stops without\n")

    for number in outside:
        signal.signal(number, note)
    try:
        yield
    finally:
        leave()


def kept_text(target: Path | None) -> str:
    """What an interrupted run has left, and how to go on."""
    from fmanet_cli.restore.journal import kept_frames
    from fmanet_cli.video.write.partial_files import playable_path

    frames = kept_frames(target) if target is not None else 0
    if target is None or not frames:
        return "no frame is kept, the same command begins anew"
    kept = f"{frames_text(frames)} of {target} {is_or_are(frames)} kept"
    context = click.get_current_context(silent=True)
    if context is None or not context.params.get("keep_partial") or not os.path.lexists(playable_path(target)):
        return f"{kept}, run the same command again to go on"
    words = ["fmanet", *getattr(context.find_root().command, "words", ())]
    return f"{kept}, those from the first on in {playable_path(target)}; this goes on: {shlex.join(words)}"


def _stop_at_once(_number: int, _frame: FrameType | None) -> None:
    """End the process where it stands; what was not closed is removed by the next run."""
    os.write(2, b"\ninterrupted twice: stopped at once\n")
    os._exit(_BASE_EXIT_CODE + signal.SIGINT)
