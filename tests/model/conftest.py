"""Makes the golden helper importable by its own name, and keeps the suite on one core."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
