"""Dynamic evaluation: the weights follow the text while it is scored (Krause et al. 2018, arXiv:1709.07432).

Each segment is scored first and learnt from afterwards, by one step down its gradient; at each step the weights decay
towards those they started from. Krause et al. divide each number of the gradient by its root mean square over the
training text, which a finished model no longer has. Here one running mean for each whole tensor, which is known after
the first segment, takes its place: it gained more than running means for each number, and than plain descent.

Shapes: N tokens of a document, n of a segment, V vocab_size.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gru_complete.arrays import TokenIds
from gru_complete.nn.language_model import LanguageModel


@dataclass(frozen=True)
class DynamicSettings:
    """How the weights follow the text.

    Args:
        learning_rate: how far a number of the weights moves in a step, in the root mean square.
        decay: share of the way back to the trained weights that is gone in each step.
        segment_len: n, tokens scored between two steps; the gradient reaches no further back.
        smoothing: share of the mean square that stays at each step; no step is longer than
            ``(1 - smoothing)**-0.5`` usual ones.
    """

    learning_rate: float = 3e-4
    decay: float = 3e-3
    segment_len: int = 32
    smoothing: float = 0.99


DEFAULT = DynamicSettings()
TINY = 1e-24
"""Mean squares below this are those of a tensor without a gradient."""


def dynamic_logits(
    model: LanguageModel, tokens: TokenIds, settings: DynamicSettings = DEFAULT
) -> Iterator[tuple[Tensor, Tensor]]:
    """Score a document segment by segment with weights that have learnt all earlier segments.

    Args:
        model: where the weights start; it is not changed.
        tokens: ids of one document, ``(N,)``, the document end before it included.
        settings: how to learn.

    Yields:
        For each segment ``(logits, targets)``, ``(n, V)`` and ``(n,)``: the scores of the tokens that follow, computed
        before anything of them was learnt. All but the last segment have n = ``segment_len``.
    """
    model = copy.deepcopy(model).eval()
    parameters = list(model.parameters())
    trained = [parameter.detach().clone() for parameter in parameters]
    mean_squares = np.zeros(len(parameters))
    state, weight = None, 0.0
    for start in range(0, len(tokens) - 1, settings.segment_len):
        window = np.asarray(tokens[start : start + settings.segment_len + 1], dtype=np.int64)
        ids = torch.from_numpy(window).to(model.embedding.device)
        with torch.enable_grad():
            features, state = model.read(ids[None, :-1], state)
            logits = model.logits(features.squeeze(1))
        yield logits.detach(), ids[1:]
        state = state.detach()
        gradients = torch.autograd.grad(F.cross_entropy(logits, ids[1:]), parameters)
        squares = np.array([float(gradient.square().mean()) for gradient in gradients])
        if not np.isfinite(squares).all():
            continue  # nothing can be learnt from this segment
        mean_squares += (1 - settings.smoothing) * (squares - mean_squares)
        weight += (1 - settings.smoothing) * (
            1 - weight
        )  # of what has been seen; the rest of the mean is its start, zero
        rates = settings.learning_rate / np.sqrt(np.maximum(mean_squares / weight, TINY))
        with torch.no_grad():
            for parameter, gradient, start_values, rate in zip(parameters, gradients, trained, rates, strict=True):
                parameter.lerp_(start_values, settings.decay).sub_(gradient, alpha=rate)


def dynamic_nats(model: LanguageModel, tokens: TokenIds, settings: DynamicSettings = DEFAULT) -> np.ndarray:
    """The nats of each token of one document but its first, each scored before it is learnt, float64 ``(N - 1,)``."""
    parts = [
        F.cross_entropy(logits, targets, reduction="none").double().cpu().numpy()
        for logits, targets in dynamic_logits(model, tokens, settings)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)
