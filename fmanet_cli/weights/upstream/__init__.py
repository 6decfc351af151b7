"""The authors' own weights files: found in their archive, converted to checkpoints."""
