"""Dynamic evaluation: the weights follow the text while it is scored (Krause et al. 2018, arXiv:1709.07432).

Each segment is scored first and learnt from afterwards, by one step down its gradient; between the steps the weights
decay towards those they started from. Krause et al. divide the gradient by its root mean square over the training
text, which a finished model no longer has; plain gradient descent, each segment's gradient bounded in length, was
found to gain as much as running averages of the squared gradient did.

Shapes: N tokens of a document, n of a segment, V vocab_size.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gru_complete.nn.language_model import LanguageModel
from gru_complete.text.shards import TokenIds


@dataclass(frozen=True)
class DynamicSettings:
    """How the weights follow the text.

    Args:
        learning_rate: of a step down the gradient of the segment's mean nats per token.
        decay: the share of the way back to the trained weights that is gone before each step.
        segment_len: n, tokens scored between two steps; the gradient reaches no further back.
        max_grad_norm: longer gradients are scaled down to this.
    """

    learning_rate: float = 0.05
    decay: float = 0.001
    segment_len: int = 32
    max_grad_norm: float = 2.0


DEFAULT = DynamicSettings()


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
    state = None
    for start in range(0, len(tokens) - 1, settings.segment_len):
        window = np.asarray(tokens[start : start + settings.segment_len + 1], dtype=np.int64)
        ids = torch.from_numpy(window).to(model.embedding.device)
        with torch.enable_grad():
            features, state = model.read(ids[None, :-1], state)
            logits = model.logits(features.squeeze(1))
        yield logits.detach(), ids[1:]
        state = state.detach()
        gradients = torch.autograd.grad(F.cross_entropy(logits, ids[1:]), parameters)
        _learn(parameters, gradients, trained, settings)


def dynamic_nats(model: LanguageModel, tokens: TokenIds, settings: DynamicSettings = DEFAULT) -> np.ndarray:
    """The nats of each token of one document but its first, each scored before it is learnt, float64 ``(N - 1,)``."""
    parts = [
        F.cross_entropy(logits, targets, reduction="none").double().cpu().numpy()
        for logits, targets in dynamic_logits(model, tokens, settings)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


@torch.no_grad()
def _learn(
    parameters: Sequence[Tensor], gradients: Sequence[Tensor], trained: Sequence[Tensor], settings: DynamicSettings
) -> None:
    norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(part) for part in gradients])))
    if not np.isfinite(norm):
        return  # nothing can be learnt from this segment
    rate = settings.learning_rate * min(1.0, settings.max_grad_norm / max(norm, 1e-12))
    for parameter, gradient, start in zip(parameters, gradients, trained, strict=True):
        parameter.lerp_(start, settings.decay).sub_(gradient, alpha=rate)
