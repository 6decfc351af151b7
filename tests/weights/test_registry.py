"""The table of weights, and the model card that repeats it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from fmanet_cli.errors import WeightsError
from fmanet_cli.weights import registry
from fmanet_cli.weights.checkpoint import read_header
from fmanet_cli.weights.registry import EMBEDDED_FOLDER, LITE, PRETRAINED, REDS, best_installed

MODEL_CARD = Path(__file__).parents[2] / "weights" / "README.md"


def test_the_model_card_repeats_the_table() -> None:
    lines = MODEL_CARD.read_text(encoding="utf-8").split("\n\n")
    table = next(block for block in lines if block.startswith("| name")).splitlines()[2:]
    cells = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table]
    assert [row[0] for row in cells] == list(PRETRAINED)
    for name, file, sha256, size, parameters, colour_order, source, licence in cells:
        row = PRETRAINED[name]
        assert file.split("`")[0] == row.file
        assert sha256 == (row.sha256 or "not published")
        assert size == (str(row.size_bytes) if row.size_bytes else "not published")
        assert parameters == str(row.parameters)
        assert colour_order == row.colour_order.upper()
        assert source == row.source
        assert licence == row.licence


def test_embedded_file_is_the_one_in_the_table() -> None:
    content = (EMBEDDED_FOLDER / LITE.file).read_bytes()
    assert len(content) == LITE.size_bytes
    assert hashlib.sha256(content).hexdigest() == LITE.sha256


def test_embedded_file_says_what_the_table_says() -> None:
    header = read_header(EMBEDDED_FOLDER / LITE.file)
    assert header.colour_order == "rgb"
    assert header.metadata.licence == LITE.licence
    assert header.metadata.source == LITE.source
    assert [file.name for file in header.metadata.source_files] == [
        "lite-in-training.safetensors",
        "before-the-last-run.safetensors",
        "lite-before.safetensors",
    ]


def test_default_is_the_best_embedded_row_whatever_else_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    better = replace(LITE, name="better", rank=20)
    restricted = replace(REDS, rank=99)
    monkeypatch.setattr(registry, "PRETRAINED", {row.name: row for row in (LITE, better, restricted)})
    assert best_installed() == "better"


def test_a_package_without_weights_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "EMBEDDED_FOLDER", tmp_path)
    with pytest.raises(WeightsError, match="the package holds no weights"):
        best_installed()


@pytest.mark.parametrize("url", [None, "https://example.org/lite.safetensors"])
def test_checkpoints_need_a_digest(url: str | None) -> None:
    with pytest.raises(ValueError, match="needs a digest and a size"):
        replace(LITE, url=url, sha256=None)
