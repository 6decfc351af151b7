"""The first minutes of the network on a device that nobody has tried: one command, each step in its own process."""
