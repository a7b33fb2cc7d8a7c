"""Dynamic evaluation: the weights follow the text while it is scored (Krause et al. 2018, arXiv:1709.07432).

Each segment of a document is scored first and learnt afterwards, by one step down its gradient g. At each step the
weights w also decay towards the trained weights w_0::

    w <- w + decay * (w_0 - w) - learning_rate * g / RMS

Krause et al. divide each number of the gradient by its root mean square over the training text, which a finished model
no longer has. Here RMS is a running mean over the document's segments, one for each whole tensor. It is known after the
first segment, and it gained more than a running mean for each number, and more than plain descent.

Shapes: N tokens of a document, T tokens of a segment, V vocab_size.
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
        learning_rate: how far a weight moves in a step, in the root mean square over its tensor.
        decay: the share of the way back to the trained weights that each step takes.
        segment_len: T, tokens scored between two steps; the gradient reaches no further back.
        smoothing: the share of the running mean square that each step keeps, which also bounds a step: it is at most
            ``(1 - smoothing)**-0.5`` times as long as usual.
    """

    learning_rate: float = 3e-4
    decay: float = 3e-3
    segment_len: int = 32
    smoothing: float = 0.99


DEFAULT = DynamicSettings()
MIN_MEAN_SQUARE = 1e-24
"""A tensor whose gradients have a smaller mean square has no gradient; this keeps its step finite."""


def dynamic_logits(
    model: LanguageModel, tokens: TokenIds, settings: DynamicSettings = DEFAULT
) -> Iterator[tuple[Tensor, Tensor]]:
    """Score a document segment by segment, with weights that have learnt from all earlier segments.

    Args:
        model: the trained weights; it is not changed.
        tokens: ids of one document, ``(N,)``, the document end before it included.
        settings: how the weights follow the text.

    Yields:
        For each segment ``(logits, targets)``, ``(T, V)`` and ``(T,)``: the scores of the tokens that follow, computed
        before the weights have learnt from them. All but the last segment have T = ``segment_len``.
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
            continue  # learn nothing from this segment
        # The running mean starts at zero; ``weight`` is the part of it that comes from gradients.
        mean_squares += (1 - settings.smoothing) * (squares - mean_squares)
        weight += (1 - settings.smoothing) * (1 - weight)
        rates = settings.learning_rate / np.sqrt(np.maximum(mean_squares / weight, MIN_MEAN_SQUARE))
        with torch.no_grad():
            for parameter, gradient, start_values, rate in zip(parameters, gradients, trained, rates, strict=True):
                parameter.lerp_(start_values, settings.decay).sub_(gradient, alpha=rate)
