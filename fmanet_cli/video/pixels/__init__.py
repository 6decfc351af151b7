"""Pixel formats and colour: Y'CbCr planes, RGB, and the exact way between them."""
