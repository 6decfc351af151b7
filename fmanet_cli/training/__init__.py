"""Photographs and video in, checkpoints out."""
