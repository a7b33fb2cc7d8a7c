"""What a text costs under a model: the nats of token streams, state carried through each document.

Every number here is a sum over tokens, so that the caller may divide by what is fair: bytes, characters or tokens.

Shapes: B documents read side by side, T tokens of a chunk, V vocab_size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gru_complete.nn.language_model import LanguageModel

LOGITS_AT_ONCE = 1 << 20
"""Scores held in memory together; few enough that they stay in a processor's cache."""


@dataclass(frozen=True)
class TokenScores:
    """Sums over all scored tokens.

    Attributes:
        total_nats: the negative logarithm of the probability of all targets.
        num_tokens: targets scored, document ends included.
        top1: targets to which the model gave the highest score.
        top3: targets among the three highest.
        top5: targets among the five highest.
    """

    total_nats: float
    num_tokens: int
    top1: int
    top3: int
    top5: int


def score_tokens(
    model: LanguageModel,
    streams: Sequence[np.ndarray],
    *,
    chunk_len: int = 256,
    batch_size: int = 32,
    device: torch.device | None = None,
) -> TokenScores:
    """Score documents, each from a zero state.

    Args:
        model: read in evaluation mode, and left in the mode it came in.
        streams: one array of token ids for each document, with ``DOCUMENT_END`` as its first input and its last
            target; memory-mapped arrays are read chunk by chunk.
        chunk_len: tokens read at once; changes the time and memory, not the result.
        batch_size: the most documents read side by side.
        device: where the model is, if not where its parameters say.

    Returns:
        The sums over all documents.
    """
    total_nats = 0.0
    num_tokens = 0
    hits = np.zeros(3, dtype=np.int64)
    for _, nats, ranks in _scores(model, streams, chunk_len=chunk_len, batch_size=batch_size, device=device):
        total_nats += float(nats.sum())
        num_tokens += len(nats)
        hits += [np.count_nonzero(ranks < limit) for limit in (1, 3, 5)]
    return TokenScores(total_nats, num_tokens, *hits.tolist())


def token_nats(model: LanguageModel, tokens: np.ndarray, *, chunk_len: int = 256) -> np.ndarray:
    """The nats of each token of one document but its first, float64 ``(N - 1,)``."""
    parts = [nats for _, nats, _ in _scores(model, [tokens], chunk_len=chunk_len, batch_size=1, device=None)]
    return np.concatenate(parts) if parts else np.zeros(0)


def document_nats(model: LanguageModel, streams: Sequence[np.ndarray], *, batch_size: int = 64) -> np.ndarray:
    """The nats of each document, all its tokens but the first together, float64 ``(len(streams),)``."""
    totals = np.zeros(len(streams))
    for document, nats, _ in _scores(model, streams, chunk_len=256, batch_size=batch_size, device=None):
        totals[document] += nats.sum()
    return totals


def _scores(
    model: LanguageModel, streams: Sequence[np.ndarray], *, chunk_len: int, batch_size: int, device: torch.device | None
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield for each document and chunk ``(document, nats, ranks)``, each document's chunks in order."""
    was_training = model.training
    model.eval()
    try:
        longest_first = sorted(range(len(streams)), key=lambda index: -len(streams[index]))
        for start in range(0, len(longest_first), batch_size):
            yield from _batch_scores(model, streams, longest_first[start : start + batch_size], chunk_len, device)
    finally:
        model.train(was_training)


@torch.inference_mode()
def _batch_scores(
    model: LanguageModel, streams: Sequence[np.ndarray], rows: list[int], chunk_len: int, device: torch.device | None
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Read the documents ``rows``, longest first, side by side; those that end leave the batch."""
    state = model.initial_state(len(rows))
    for start in range(0, len(streams[rows[0]]) - 1, chunk_len):
        rows = [row for row in rows if len(streams[row]) - 1 > start]
        state = state[:, :, : len(rows)]
        windows = [streams[row][start : start + chunk_len + 1] for row in rows]
        lengths = [len(window) - 1 for window in windows]
        padded = np.zeros((len(rows), lengths[0] + 1), dtype=np.int64)
        for row, window in enumerate(windows):
            padded[row, : len(window)] = window
        tokens = torch.from_numpy(padded).to(device or state.device)
        features, state = model.read(tokens[:, :-1], state)
        nats, ranks = _nats_and_ranks(model, features.transpose(0, 1).flatten(0, 1), tokens[:, 1:].flatten())
        nats, ranks = nats.view(len(rows), -1), ranks.view(len(rows), -1)
        for row, length in enumerate(lengths):
            yield rows[row], nats[row, :length].double().cpu().numpy(), ranks[row, :length].cpu().numpy()


def _nats_and_ranks(model: LanguageModel, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Nats of the targets ``(N,)`` after ``features`` ``(N, E)``, and how many tokens stood before each.

    Of tokens with the same score, the one with the lower id stands first, as in ``argmax``.
    """
    nats, ranks = [], []
    ids = torch.arange(model.architecture.vocab_size, device=features.device)
    rows_at_once = max(1, LOGITS_AT_ONCE // model.architecture.vocab_size)
    for start in range(0, len(targets), rows_at_once):
        logits = model.logits(features[start : start + rows_at_once])
        target_ids = targets[start : start + rows_at_once].unsqueeze(-1)
        scores = logits.gather(-1, target_ids)
        before = (logits > scores) | ((logits == scores) & (ids < target_ids))
        ranks.append(before.sum(-1))
        nats.append(torch.logsumexp(logits, -1) - scores.squeeze(-1))
    return torch.cat(nats), torch.cat(ranks)
