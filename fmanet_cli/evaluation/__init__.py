"""Restored frames against the truth: figures."""
