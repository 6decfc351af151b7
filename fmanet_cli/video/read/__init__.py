"""Files, image sequences and pipes to frames, and what can be known of them."""
