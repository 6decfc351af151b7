"""Settings that all tests share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's weights cache."""
    monkeypatch.setenv("FMANET_CACHE", str(tmp_path_factory.mktemp("cache")))
