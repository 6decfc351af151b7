"""`--from-report` of a file that says anything: refused in one line, or the run that it tells of."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.weights.checkpoint import CheckpointMetadata, save_checkpoint
from support.command_line import fmanet

ODD_VALUES: list[Any] = [
    None,
    True,
    -1,
    10**400,
    1e300,
    "",
    "\0",
    "\ud800",
    "\x1b]0;t\x07",
    "x" * 5000,
    [],
    [3],
    {},
    {"a": []},
]
CODES = {0, 1, 2, 3, 4, 5, 6, 7}


@pytest.fixture
def report(make_clip, tmp_path: Path, tiny_model: FMANet, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    make_clip("a.mp4", count=1, height=16, width=16)
    save_checkpoint(
        tmp_path / "tiny.safetensors", tiny_model, metadata=CheckpointMetadata(licence="MIT", source="random")
    )
    monkeypatch.chdir(tmp_path)
    words = ("-o", "out.mp4", "--model", "tiny.safetensors", "--precision", "fp32", "--report", "run.json")
    result = fmanet("restore", "a.mp4", *words, "--no-verify")
    assert result.exit_code == 0, result.output
    (tmp_path / "out.mp4").unlink()
    return json.loads((tmp_path / "run.json").read_text())


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested dictionaries and lists, but for what only tells how the run went."""
    if path:
        yield path
    if path and path[-1] in ("run", "machine", "versions", "verification"):
        return
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def changed(report: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    new = copy.deepcopy(report)
    place: Any = new
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return new


def check(text: str) -> int:
    """Repeat a report; return the exit code."""
    Path("odd.json").write_text(text)
    Path("out.mp4").unlink(missing_ok=True)
    result = fmanet("restore", "--from-report", "odd.json")
    assert isinstance(result.exception, SystemExit | None), text[:300]
    assert result.exit_code in CODES
    assert "unexpected" not in result.stderr, result.stderr
    assert result.exit_code == 0 or "error: " in result.stderr.lower()
    assert "\x1b" not in result.stderr
    return result.exit_code


def test_wrong_types_of_what_decides(report: dict[str, Any]) -> None:
    for place, value in [
        (("options", "scale"), 2),
        (("options", "crf"), "21"),
        (("options", "crf"), float("nan")),
        (("options", "start"), [1]),
        (("options", "verify"), "yes"),
        (("options", "encoder_option"), "a=b"),
        (("options", "tile"), "7"),
        (("files", 0, "source"), "a\0b"),
        (("files", 0, "source"), "\ud800"),
        (("weights", "name"), "\ud800"),
        (("options", "model"), "\ud800"),
        (("files", 0, "source"), 3),
        (("files",), []),
        (("options",), [1]),
        (("weights",), None),
    ]:
        assert check(json.dumps(changed(report, place, value))) in (2, 4), (place, value)


@pytest.mark.parametrize("text", ["", "null", "3", "[]", "{}", "[" * 100_000, '{"format": ' + "[" * 100_000])
def test_other_files(report: dict[str, Any], text: str) -> None:
    assert check(text) == 2


def test_a_field_that_no_report_has_is_named(report: dict[str, Any]) -> None:
    report["weights"]["odd"] = 1
    assert check(json.dumps(report)) == 2
    assert "there is no field 'odd'" in fmanet("restore", "--from-report", "odd.json").stderr


def test_the_environment_wins(report: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMANET_RESTORE_SCALE", "2")
    assert fmanet("restore", "--from-report", "run.json", "--no-verify").exit_code == 0
    monkeypatch.setenv("FMANET_RESTORE_CRF", "nonsense")
    result = fmanet("restore", "--from-report", "run.json", "-y")
    assert (result.exit_code, "nonsense" in result.stderr) == (2, True)


def test_verify_takes_the_options_of_the_run(make_clip, report: dict[str, Any]) -> None:
    clip = make_clip("b.mp4", count=6, height=16, width=16)
    words = (
        "--model",
        "tiny.safetensors",
        "--precision",
        "fp32",
        "--start",
        "0.05",
        "--scale",
        2,
        "--report",
        "b.json",
    )
    assert fmanet("restore", clip, "-o", "b2.mp4", *words, "--no-verify").exit_code == 0
    plain = fmanet("verify", clip, "b2.mp4", "--json")
    told = fmanet("verify", clip, "b2.mp4", "--json", "--report", "b.json")
    rows = {row["what"]: row["verdict"] for row in json.loads(told.stdout)["rows"]}
    assert (rows["frames"], rows["size"]) == ("same", "same")
    assert json.loads(plain.stdout)["ok"] is False


@pytest.mark.slow
def test_every_place_with_every_value(report: dict[str, Any]) -> None:
    count = 0
    for place in places(report):
        for value in ODD_VALUES:
            check(json.dumps(changed(report, place, value)))
            count += 1
    assert count > 500
