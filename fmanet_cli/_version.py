"""The version, below everything else, so that nothing needs the package's root to say it."""

__version__ = "0.1.0"
