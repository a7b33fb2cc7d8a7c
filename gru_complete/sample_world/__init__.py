"""A small artificial world for sample data: a grammar that writes texts and knows their exact probabilities."""
