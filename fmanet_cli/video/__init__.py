"""Bytes to frames and back; the only folder that imports PyAV."""
