"""`python -m fmanet_cli` is `fmanet`."""

from __future__ import annotations

from fmanet_cli.cli.main import main

if __name__ == "__main__":
    main()
