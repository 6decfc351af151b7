"""What the libraries below read when they are loaded is set before, and nothing that a user has set is changed."""

from __future__ import annotations

import os

import pytest

from fmanet_cli.cli import process

NEW, OLD = "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"
GROWING = "expandable_segments:True"


@pytest.mark.parametrize(
    ("torch", "system", "given", "expected"),
    [
        ("2.13.0+cpu", "linux", {}, {NEW: GROWING}),
        ("2.9.0+cu130", "linux", {}, {NEW: GROWING}),
        ("2.8.0+cu128", "linux", {}, {OLD: GROWING}),
        ("2.11.0+rocm6.4", "linux", {}, {}),
        ("2.13.0", "win32", {}, {}),
        ("2.13.0", "darwin", {}, {}),
        ("2.13.0", "linux", {OLD: "max_split_size_mb:64"}, {OLD: "max_split_size_mb:64"}),
        ("2.6.0", "linux", {NEW: "backend:native"}, {NEW: "backend:native"}),
    ],
)
def test_cuda_memory_can_be_cut_anew_where_torch_can(
    monkeypatch: pytest.MonkeyPatch, torch: str, system: str, given: dict[str, str], expected: dict[str, str]
) -> None:
    for name in (NEW, OLD):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(process, "_LIBRARY_VARIABLES", {})
    monkeypatch.setattr(process.sys, "platform", system)
    monkeypatch.setattr(process.importlib.metadata, "version", lambda _: torch)
    process.tune_libraries()
    found = {name: os.environ[name] for name in (NEW, OLD) if name in os.environ}
    # What was set for this test is not for the next one.
    for name in found:
        monkeypatch.delenv(name)
    assert found == expected
