"""Frames to files, image sequences and pipes, with everything else of the source."""
