"""`compare` and `recall`: kinds of cells trained in the same way, measured in the same way, side by side."""
