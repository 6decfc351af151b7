"""Options that share a film: what they refuse."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from fmanet_cli.cli.main import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ship"], "error: ship is of a Ray cluster; give its address too (--ray auto)"),
        (["--cpus-per-worker", "3"], "error: cpus per worker is of a Ray cluster; give its address too (--ray auto)"),
        (["--ray", "auto"], "error: Ray is not installed here; install fmanet with its extra, '.[ray]'"),
        (["--workers", "0"], "error: workers must be auto or a number from 1 to 4096, got '0'"),
    ],
)
def test_what_cannot_be_honoured_is_one_line(
    make_clip: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = CliRunner().invoke(
        main, ["restore", str(make_clip(count=1)), "-o", str(tmp_path / "out.mp4"), "-q", *words]
    )
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [said]
