"""Train a small recurrent language model on your own text and complete text with it."""
