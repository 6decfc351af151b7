"""What a small program needs of memory."""

from __future__ import annotations

import subprocess
import sys


def peak_kilobytes(code: str, *words: str) -> int:
    """The largest resident memory of a Python process that runs `code` with `words` as its arguments."""
    measured = f"import resource, sys\n{code}\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    done = subprocess.run([sys.executable, "-c", measured, *words], capture_output=True, text=True, check=True)
    return int(done.stdout)
