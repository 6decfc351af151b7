"""Words of the command line in, calls out."""
