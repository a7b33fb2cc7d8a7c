"""What each token of a document costs, the slow reference of the scorers."""

import numpy as np

from gru_complete.training.scoring import MixtureScorer, read_documents


def token_nats(model, tokens, *, mixture=None, adapted=False, chunk_len=256):
    """The nats of each token of one document but its first, float64 ``(N - 1,)``."""
    scorer = MixtureScorer(mixture, adapted=adapted)
    chunks = read_documents(model, [tokens], chunk_len=chunk_len, batch_size=1)
    parts = [scorer.predict(chunk).nats for chunk in chunks]
    return np.concatenate(parts) if parts else np.zeros(0)
