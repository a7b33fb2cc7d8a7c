"""Fixtures of the evaluation tests."""

import numpy as np
import pytest
from torch.nn import functional as F

from gru_complete.evaluation.dynamic import DEFAULT, dynamic_logits


@pytest.fixture
def dynamic_nats():
    """The nats of each token of one document but its first, each scored before it is learnt, float64 ``(N - 1,)``."""

    def measure(model, tokens, settings=DEFAULT):
        parts = [
            F.cross_entropy(logits, targets, reduction="none").double().cpu().numpy()
            for logits, targets in dynamic_logits(model, tokens, settings)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    return measure
