"""Checkpoints whose headers lie: refused in one line, whatever they say."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from fmanet_cli.errors import WeightsError
from fmanet_cli.model.fmanet import FMANet
from fmanet_cli.weights.checkpoint import CheckpointMetadata, read_header, save_checkpoint

ODD_VALUES: list[Any] = [None, True, -1, 0, 7, 10**9, 10**30, 1e30, 0.5, "x", [1], {"a": 1}]
ODD_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e400"]


@pytest.fixture
def path(tmp_path: Path, tiny_model: FMANet) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, tiny_model, metadata=CheckpointMetadata(licence="MIT", source="random"))
    return path


def read(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write(path: Path, header: str, tensors: bytes) -> None:
    text = header.encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + tensors)


def refused(path: Path) -> bool:
    """Whether it is refused in one line; False where it is loaded."""
    try:
        read_header(path)
    except WeightsError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
        return True
    return False


def test_every_value_of_the_configuration(path: Path) -> None:
    header, tensors = read(path)
    config = json.loads(header["__metadata__"]["config"])
    loaded = 0
    for name in config:
        for value in ODD_VALUES:
            header["__metadata__"]["config"] = json.dumps(config | {name: value})
            write(path, json.dumps(header), tensors)
            loaded += not refused(path)
        for number in ODD_NUMBERS:
            header["__metadata__"]["config"] = json.dumps(config | {name: "@"}).replace('"@"', number)
            write(path, json.dumps(header), tensors)
            assert refused(path), (name, number)
    # What says the same as before may be loaded: a size that is 1 already, or a scale in other words.
    assert loaded <= len(config)


@pytest.mark.parametrize("key", ["format", "format_version", "config", "colour_order", "licence", "provenance"])
@pytest.mark.parametrize("text", ["", "[]", "3", "null", '"x"', "{}", "[" * 100_000, '{"source_files": 3}'])
def test_every_text_of_the_metadata(path: Path, key: str, text: str) -> None:
    header, tensors = read(path)
    header["__metadata__"][key] = text
    write(path, json.dumps(header), tensors)
    assert refused(path) or key == "licence"


def test_provenance_of_wrong_types(path: Path) -> None:
    header, tensors = read(path)
    provenance = json.loads(header["__metadata__"]["provenance"])
    for name in provenance:
        for value in (3, [1], {"a": 1}, [{"name": 3, "more": 1}]):
            header["__metadata__"]["provenance"] = json.dumps(provenance | {name: value})
            write(path, json.dumps(header), tensors)
            assert refused(path), (name, value)


def test_random_bytes_in_the_header(path: Path) -> None:
    content = path.read_bytes()
    rng = random.Random(4)
    (length,) = struct.unpack("<Q", content[:8])
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 6)):
            damaged[rng.randrange(8 + length)] = rng.randrange(256)
        path.write_bytes(damaged)
        refused(path)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    for odd in ("/dev/zero", "/dev/full", str(tmp_path)):
        if Path(odd).exists():
            assert refused(Path(odd))
