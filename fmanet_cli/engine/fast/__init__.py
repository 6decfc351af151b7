"""The network of the paper rebuilt for streaming, held equal to the plain one."""
