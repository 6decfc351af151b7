"""Sharp clips, and low-resolution frames made from them, for training and evaluation."""
