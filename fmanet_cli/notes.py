"""What the user should know of a run: one collector, handed down to whoever may have something to say."""

from __future__ import annotations

from collections.abc import Iterator


class Notes:
    """Sentences in the order in which they came up, each once. Any thread may add one."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    def add(self, *texts: str) -> None:
        """Add sentences on what is lost, was guessed or changed."""
        self._texts.update(dict.fromkeys(texts))

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._texts))

    def __len__(self) -> int:
        return len(self._texts)
