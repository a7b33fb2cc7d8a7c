"""ngrams_."""
