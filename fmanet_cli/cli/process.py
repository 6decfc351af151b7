"""What the libraries below read from the environment when they are loaded; nothing that is set already is changed."""

from __future__ import annotations

import os

_LIBRARY_VARIABLES = {
    # Torch reads this at its first allocation. With large pages a window costs a tenth less on a CPU, because the
    # network takes and returns tensors of megabytes all the time.
    "THP_MEM_ALLOC_ENABLE": "1",
}


def tune_libraries() -> None:
    """Call it before torch is imported."""
    for name, value in _LIBRARY_VARIABLES.items():
        os.environ.setdefault(name, value)
