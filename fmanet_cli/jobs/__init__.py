"""Whole tasks that join video, weights and engine."""
