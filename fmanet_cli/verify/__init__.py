"""A restored copy held against its source."""
