"""One module per command (or family of small ones)."""
