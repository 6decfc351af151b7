"""An image drawn in a terminal that can."""

from __future__ import annotations

import sys
from pathlib import Path


def draw(path: Path) -> bool:
    """Draw an image file on standard output, as wide as the terminal; whether that was possible.

    It is where the terminal knows sixel (iTerm2, foot, WezTerm, Konsole, Windows Terminal ...) or kitty's protocol, and
    the extra `terminal` is installed. Nothing is said or drawn elsewhere.
    """
    if not (sys.stdout and sys.stdout.isatty() and sys.stdin and sys.stdin.isatty()):
        return False
    from fmanet_cli.cli.console import make_console

    try:
        # On import it asks the terminal what it can. One that answers oddly, or has no size, is none that can.
        from textual_image.renderable import Image, SixelImage, TGPImage

        if Image not in (SixelImage, TGPImage):
            return False
        make_console().print(Image(path, width="100%", height="auto"))
    except (ImportError, ArithmeticError, ValueError, OSError, RuntimeError):
        return False
    return True
