"""A watched folder: what has stopped growing is taken once."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

from fmanet_cli.restore.inputs import BatchItem
from fmanet_cli.restore.watch import arrivals


class EndError(Exception):
    """The test has seen enough."""


def test_files_are_taken_when_they_have_stopped_growing(tmp_path: Path) -> None:
    looks = itertools.count(1)
    a, b, c = (tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4"))
    a.write_bytes(b"whole")
    b.write_bytes(b"b")

    def sleep(seconds: float) -> None:
        assert seconds == 2.0
        number = next(looks)
        if number <= 3:
            b.write_bytes(b"b" * (number + 1))
        if number == 2:
            c.touch()
        if number == 6:
            os.utime(a, ns=(0, 10**9))
        if number == 9:
            raise EndError

    def look() -> Iterable[BatchItem]:
        return [BatchItem(path, path.with_suffix(".mkv")) for path in sorted(tmp_path.glob("*.mp4"))]

    taken: list[tuple[str, bytes]] = []
    with contextlib.suppress(EndError):
        taken.extend((item.source.name, item.source.read_bytes()) for item in arrivals(look, interval=2.0, sleep=sleep))
    assert taken == [("a.mp4", b"whole"), ("b.mp4", b"bbbb"), ("a.mp4", b"whole")]


def test_a_file_that_grows_while_another_is_restored_waits(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"x")

    def sleep(_: float) -> None:
        if len(taken) == 3:
            raise EndError

    taken: list[str] = []
    with contextlib.suppress(EndError):
        for item in arrivals(lambda: [BatchItem(p, p) for p in sorted(tmp_path.glob("*"))], sleep=sleep):
            taken.append(item.source.name)
            if len(taken) == 1:
                (tmp_path / "b.mp4").write_bytes(b"longer")
            if len(taken) == 2:
                (tmp_path / "c.mp4").write_bytes(b"new")
    assert taken == ["a.mp4", "b.mp4", "c.mp4"]
