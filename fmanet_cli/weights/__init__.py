"""From a name to a file to a model."""
