"""What a text costs under a model: the nats of token streams, with the state carried through each document.

Every number here is a sum over tokens, so that the caller may divide by what is fair: bytes, characters or tokens. With
a mixture the distribution is that of GRU and n-gram counts together, else the GRU's alone. It is static unless
``adapted`` is set: then an overlay of counts, empty at each document's start, learns every token after it was scored.

Shapes: B documents read side by side, T tokens of a chunk, E embedding_size, V vocab_size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gru_complete.ngrams.mixture import NGramMixture
from gru_complete.ngrams.overlay import Overlay
from gru_complete.nn.language_model import LanguageModel


class Chunk(NamedTuple):
    """Some tokens of a document and the GRU's scores of them.

    Attributes:
        document: which of the streams.
        tokens: what was read, and the last target, int64 ``(n + 1,)``.
        features: what the scores are made of, ``(n, E)``.
        logits: scores of ``tokens[1:]``, ``(n, V)``.
        is_last: whether the document ends with it.
    """

    document: int
    tokens: np.ndarray
    features: Tensor
    logits: Tensor
    is_last: bool


class TokenPredictions(NamedTuple):
    """What came of predicting the tokens of a chunk.

    Attributes:
        nats: of the targets, float64 ``(n,)``.
        ranks: how many tokens stood before each; of tokens with the same score, the one with the lower id stands
            first, as in ``argmax``; ``(n,)``.
        confidences: the probability of the token that stood first, float64 ``(n,)``.
    """

    nats: np.ndarray
    ranks: np.ndarray
    confidences: np.ndarray


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
    mixture: NGramMixture | None = None,
    adapted: bool = False,
    chunk_len: int = 256,
    batch_size: int = 32,
    device: torch.device | None = None,
    observe: Callable[[TokenPredictions], object] | None = None,
) -> TokenScores:
    """Score documents, each from a zero state.

    Args:
        model: read in evaluation mode, and left in the mode it came in.
        streams: one array of token ids for each document, with ``DOCUMENT_END`` as its first input and its last
            target; memory-mapped arrays are read chunk by chunk.
        mixture: the n-gram counts that are mixed in.
        adapted: whether an overlay learns from each document as it is read; it needs a mixture.
        chunk_len: tokens read at once; changes the time and memory, not the result.
        batch_size: the most documents read side by side.
        device: where the model is, if not where its parameters say.
        observe: is told what came of each chunk.

    Returns:
        The sums over all documents.
    """
    total_nats = 0.0
    num_tokens = 0
    hits = np.zeros(3, dtype=np.int64)
    mixed = MixtureScorer(mixture, adapted=adapted)
    for chunk in read_documents(model, streams, chunk_len=chunk_len, batch_size=batch_size, device=device):
        outcome = mixed.predict(chunk)
        total_nats += float(outcome.nats.sum())
        num_tokens += len(outcome.nats)
        hits += [np.count_nonzero(outcome.ranks < limit) for limit in (1, 3, 5)]
        if observe is not None:
            observe(outcome)
    return TokenScores(total_nats, num_tokens, *hits.tolist())


def document_nats(
    model: LanguageModel, streams: Sequence[np.ndarray], *, mixture: NGramMixture | None = None, batch_size: int = 64
) -> np.ndarray:
    """The nats of each document, all its tokens but the first together, float64 ``(len(streams),)``.

    Args:
        model: read in evaluation mode.
        streams: one array of token ids for each document.
        mixture: the n-gram counts that are mixed in.
        batch_size: the most documents read side by side.
    """
    totals = np.zeros(len(streams))
    mixed = MixtureScorer(mixture)
    for chunk in read_documents(model, streams, chunk_len=256, batch_size=batch_size):
        totals[chunk.document] += mixed.predict(chunk).nats.sum()
    return totals


def read_documents(
    model: LanguageModel,
    streams: Sequence[np.ndarray],
    *,
    chunk_len: int = 256,
    batch_size: int = 32,
    device: torch.device | None = None,
) -> Iterator[Chunk]:
    """The GRU's scores of documents, each from a zero state and each document's chunks in order.

    Args:
        model: read in evaluation mode, and left in the mode it was in.
        streams: one array of token ids for each document.
        chunk_len: tokens read at once.
        batch_size: the most documents read side by side.
        device: where the model is, if not where its parameters say.
    """
    was_training = model.training
    model.eval()
    try:
        longest_first = sorted(range(len(streams)), key=lambda index: -len(streams[index]))
        for start in range(0, len(longest_first), batch_size):
            yield from _read_batch(model, streams, longest_first[start : start + batch_size], chunk_len, device)
    finally:
        model.train(was_training)


@torch.inference_mode()
def _read_batch(
    model: LanguageModel, streams: Sequence[np.ndarray], rows: list[int], chunk_len: int, device: torch.device | None
) -> Iterator[Chunk]:
    """Read the documents ``rows``, longest first, side by side; those that end leave the batch."""
    state = model.initial_state(len(rows))
    for start in range(0, len(streams[rows[0]]) - 1, chunk_len):
        rows = [row for row in rows if len(streams[row]) - 1 > start]
        state = state[:, :, : len(rows)]
        windows = [np.asarray(streams[row][start : start + chunk_len + 1], dtype=np.int64) for row in rows]
        padded = np.zeros((len(rows), len(windows[0])), dtype=np.int64)
        for row, window in enumerate(windows):
            padded[row, : len(window)] = window
        features, state = model.read(torch.from_numpy(padded[:, :-1]).to(device or state.device), state)
        for row, window in enumerate(windows):
            own = features[: len(window) - 1, row]
            is_last = start + len(window) == len(streams[rows[row]])
            yield Chunk(rows[row], window, own, model.logits(own), is_last)


class MixtureScorer:
    """Scores chunks, each document's in their order, with the n-gram counts mixed in if there is a mixture.

    Args:
        mixture: the n-gram counts that are mixed in.
        adapted: whether an overlay learns from each document as it is read; it needs a mixture.
    """

    def __init__(self, mixture: NGramMixture | None, *, adapted: bool = False) -> None:
        if adapted and mixture is None:
            raise ValueError("an overlay needs a mixture")
        self.mixture = mixture
        self.overlays: defaultdict[int, Overlay] | None = defaultdict(Overlay) if adapted else None
        self.contexts: dict[int, tuple[int, ...]] = {}  # where each document was left

    def predict(self, chunk: Chunk) -> TokenPredictions:
        """What comes of predicting the targets."""
        scores = chunk.logits if self.mixture is None else torch.from_numpy(self._mix(self.mixture, chunk))
        targets = torch.from_numpy(chunk.tokens[1:]).to(scores.device).unsqueeze(-1)
        score = scores.gather(-1, targets)
        ids = torch.arange(scores.shape[1], device=scores.device)
        ranks = ((scores > score) | ((scores == score) & (ids < targets))).sum(-1)
        peaks = scores.amax(-1)
        if self.mixture is None:
            wholes = torch.logsumexp(scores, -1)
            nats = wholes - score.squeeze(-1)
            confidences = (peaks - wholes).exp()
        else:
            nats = -score.squeeze(-1).clamp(min=torch.finfo(score.dtype).tiny).log()
            confidences = peaks
        return TokenPredictions(nats.double().cpu().numpy(), ranks.cpu().numpy(), confidences.double().cpu().numpy())

    def _mix(self, mixture: NGramMixture, chunk: Chunk) -> np.ndarray:
        """Mixture probabilities of the chunk's targets, ``(n, V)``."""
        ngrams = mixture.ngrams
        before = self.contexts.get(chunk.document, ngrams.empty_context())
        contexts = ngrams.contexts(chunk.tokens[:-1], before)
        self.contexts[chunk.document] = tuple(contexts[-1].tolist())
        reading = ngrams.score_stream(chunk.tokens, before)
        evidence = reading.evidence
        gates = mixture.mixing.powers_and_shares(evidence)
        probabilities = mixture.mixing.mix(chunk.logits.cpu().numpy(), ngrams.distributions(contexts), gates)
        if self.overlays is not None:
            overlay = self.overlays[chunk.document]
            tokens, lengths, totals = chunk.tokens.tolist(), evidence.lengths.tolist(), evidence.totals.tolist()
            for row, token in enumerate(tokens[:-1]):
                overlay.learn(token)
                overlay.adjust(probabilities[row], overlay.recent_tokens(), lengths[row], totals[row])
        if chunk.is_last:  # so that memory does not grow with the number of documents
            del self.contexts[chunk.document]
            if self.overlays is not None:
                del self.overlays[chunk.document]
        return probabilities
