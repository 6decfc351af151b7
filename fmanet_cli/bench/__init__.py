"""Speed, memory and arithmetic of the network on this machine."""
