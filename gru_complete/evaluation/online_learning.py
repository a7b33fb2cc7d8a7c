"""What it gains to learn from a text while reading it: three learners, alone and together, and the time that they take.

The learners are the n-gram overlay ("adapted", ``ngrams/overlay.py``), the neural cache ("cache", ``neural_cache.py``)
and dynamic evaluation of the network's weights ("dynamic", ``dynamic.py``). Where several learn at once, the moving
network is mixed with the n-gram model, the overlay is laid over that, and the cache is mixed in last. The cache keeps
the features of the static network, so that features of different times are comparable. No learner sees a token before
it was scored, and each starts again with every document.

Shapes: N tokens of a document, T targets of a chunk.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch

from gru_complete.arrays import Float64Array, TokenIds
from gru_complete.evaluation.dynamic import DEFAULT, dynamic_logits
from gru_complete.evaluation.neural_cache import NeuralCache
from gru_complete.ngrams.mixture import NGramMixture
from gru_complete.nn.language_model import LanguageModel
from gru_complete.training.scoring import Chunk, MixtureScorer, read_documents

SEGMENTS = 8
"""Steps of dynamic evaluation in a chunk; this changes time and memory, not the result."""


@dataclass
class OnlineCost:
    """What all tokens of a text cost together.

    Attributes:
        nats: the negative log probability.
        seconds: the time for scoring and learning, the network's reading included.
    """

    nats: float = 0.0
    seconds: float = 0.0


class ChunkCost(NamedTuple):
    """What a chunk costs: the nats of its targets, float64 ``(T,)``, and the seconds for all of them."""

    nats: Float64Array
    seconds: float


def learners_key(*, adapted: bool = False, cache: bool = False, dynamic: bool = False) -> str:
    """The JSON key of a set of learners, such as "adapted_cache"; "static" if nothing learns."""
    chosen = {"adapted": adapted, "cache": cache, "dynamic": dynamic}
    return "_".join(learner for learner, is_on in chosen.items() if is_on) or "static"


def measure_online_learning(
    model: LanguageModel, documents: Sequence[TokenIds], *, mixture: NGramMixture | None = None
) -> dict[str, OnlineCost]:
    """Add up the costs of all documents, by ``learners_key``; arguments as for ``score_online``."""
    costs: dict[str, OnlineCost] = {}
    for tokens in documents:
        for chunk_costs in score_online(model, tokens, mixture=mixture):
            for key, chunk_cost in chunk_costs.items():
                cost = costs.setdefault(key, OnlineCost())
                cost.nats += float(chunk_cost.nats.sum())
                cost.seconds += chunk_cost.seconds
    return costs


def score_online(
    model: LanguageModel, tokens: TokenIds, *, mixture: NGramMixture | None = None
) -> Iterator[dict[str, ChunkCost]]:
    """Score a document chunk by chunk with every set of learners.

    Args:
        model: the network; it is not changed.
        tokens: ids of one document, ``(N,)``, the document end before it included.
        mixture: the n-gram model to mix in; without it there is no overlay.

    Yields:
        For each chunk its costs, by ``learners_key``.
    """
    overlays = (False,) if mixture is None else (False, True)
    scorers = {
        (adapted, dynamic): MixtureScorer(mixture, adapted=adapted) for dynamic in (False, True) for adapted in overlays
    }
    cache = NeuralCache(model.architecture.embedding_size)
    chunks = read_documents(model, [tokens], chunk_len=SEGMENTS * DEFAULT.segment_len, batch_size=1)
    segments = dynamic_logits(model, tokens, DEFAULT)
    stopwatch = _Stopwatch()
    for chunk in chunks:
        reading_seconds = {False: stopwatch.lap()}  # by whether the network moves
        moved = chunk._replace(logits=torch.cat([logits for logits, _ in islice(segments, SEGMENTS)]))
        reading_seconds[True] = stopwatch.lap()
        cached, shares = _read_cache(cache, chunk)
        # Beside a moving network, the cache needs the static network to be read too.
        cache_seconds = stopwatch.lap() + np.array([0.0, reading_seconds[False]])
        costs = {}
        for (adapted, dynamic), scorer in scorers.items():
            nats = scorer.predict(moved if dynamic else chunk).nats
            seconds = reading_seconds[dynamic] + stopwatch.lap()
            costs[learners_key(adapted=adapted, dynamic=dynamic)] = ChunkCost(nats, seconds)
            with_cache = -np.log((1 - shares) * np.exp(-nats) + shares * cached)
            seconds += float(cache_seconds[int(dynamic)])
            costs[learners_key(adapted=adapted, cache=True, dynamic=dynamic)] = ChunkCost(with_cache, seconds)
        yield costs
        stopwatch.lap()  # leaves out the caller's time


def _read_cache(cache: NeuralCache, chunk: Chunk) -> tuple[Float64Array, Float64Array]:
    """Return the cache's probabilities of the chunk's targets and its shares in the mixture, ``(T,)`` each."""
    predictions = []
    for features, target in zip(chunk.features.cpu().numpy(), chunk.tokens[1:].tolist(), strict=True):
        probabilities, share = cache.predict(features, chunk.logits.shape[1])
        predictions.append((probabilities[target], share))
        cache.learn(features, target)
    probabilities_and_shares = np.array(predictions, np.float64)
    return probabilities_and_shares[:, 0], probabilities_and_shares[:, 1]


class _Stopwatch:
    """Measures the time between two calls of ``lap``."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self._last = self._last, time.perf_counter()
        return self._last - before
