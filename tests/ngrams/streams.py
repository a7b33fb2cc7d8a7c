"""Token streams for the tests of the n-gram model."""

import numpy as np

V = 7


def random_stream(seed=0, length=300, vocab_size=V):
    """Documents of skewed tokens, so that n-grams repeat."""
    tokens = np.random.default_rng(seed).zipf(1.5, length) % vocab_size
    return np.concatenate(([0], tokens, [0])).astype(np.uint16)
