"""`check`: words and lines of a text that the model finds unusual. Nothing in this room needs torch."""
