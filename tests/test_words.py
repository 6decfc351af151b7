"""Words, docstrings and lengths that CONTRIBUTING.md asks for, held over the whole tree where no linter holds them."""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("fmanet_cli", "tests", "examples") for path in (ROOT / folder).rglob("*.py"))
OLD_NAMES = {"picture_every", "denoise_picture_share", "PictureType"}
"""An option and a key that users have written down, and a name of PyAV."""
LONGEST_FUNCTION = 80
THIRD_PERSON = (
    "Adds Asks Begins Builds Closes Compares Computes Counts Covers Cuts Draws Encodes Ends Fails Frees "
    "Gives Goes Hands Has Hashes Holds Joins Keeps Lists Makes Measures Multiplies Prints Puts Queues "
    "Raises Reads Rebuilds Recognises Refuses Removes Restores Returns Rounds Runs Says Sets Shows Skips "
    "Starts Stores Takes Tells Waits Warps Weighs Writes Yields"
)
"""Words that are no plural of a noun at the beginning of a summary here."""


def names_with_picture(path: Path) -> Iterator[str]:
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.NAME and "picture" in token.string.lower() and token.string not in OLD_NAMES:
                yield f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}"


def third_persons(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = (ast.get_docstring(node) or "-").split()[0]
            if first in THIRD_PERSON.split():
                yield f"{path.relative_to(ROOT)}:{node.lineno}: {first}"


def long_functions(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}, {lines} lines"


@pytest.mark.parametrize("found_in", [names_with_picture, third_persons, long_functions])
def test_the_tree_keeps_to_the_words(found_in) -> None:
    others = [path for path in FILES if path != Path(__file__)]
    assert [line for path in others for line in found_in(path)] == []


def test_what_is_out_of_style_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "a.py"
    path.write_text('def restore(picture):\n    """Restores it."""\n    return picture_every\n', encoding="utf-8")
    assert list(names_with_picture(path)) == ["a.py:1: picture"]
    assert list(third_persons(path)) == ["a.py:1: Restores"]
    path.write_text("def long():\n" + "    pass\n" * 80, encoding="utf-8")
    assert list(long_functions(path)) == ["a.py:1: long, 81 lines"]
