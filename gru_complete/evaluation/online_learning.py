"""What learning from a text while reading it gains: three ways, alone and together, each with what it takes.

The ways are the overlay of counts ("adapted", ``overlay.py``), the neural cache ("cache", ``neural_cache.py``) and the
network's own weights ("dynamic", ``training/dynamic.py``). A name with several of them is all of them at once: the
moving network is mixed with the counts, the overlay lies over that, and the cache is mixed in last. The cache keeps the
features of the network at rest, so that those of now and those of long ago mean the same. Nothing is learnt before it
was scored, and nothing goes from one document to the next.

Shapes: n tokens of a chunk.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gru_complete.arrays import TokenIds
from gru_complete.evaluation.dynamic import DEFAULT, dynamic_logits
from gru_complete.evaluation.neural_cache import NeuralCache
from gru_complete.ngrams.mixture import NGramMixture
from gru_complete.nn.language_model import LanguageModel
from gru_complete.training.scoring import Chunk, MixtureScorer, read_documents

SEGMENTS = 8
"""Steps of the moving network in a chunk; it changes time and memory, not the result."""


@dataclass
class OnlineCost:
    """What all tokens together cost.

    Attributes:
        nats: the negative logarithm of their probability.
        seconds: that scoring and learning took, the network's reading included.
    """

    nats: float = 0.0
    seconds: float = 0.0


class ChunkCost(NamedTuple):
    """What a chunk costs: the nats of its targets, float64 ``(n,)``, and the seconds for all of them."""

    nats: NDArray[np.float64]
    seconds: float


def learner_name(*, adapted: bool = False, cache: bool = False, dynamic: bool = False) -> str:
    """How a set of ways is called in ``--json``; "static" is none."""
    chosen = {"adapted": adapted, "cache": cache, "dynamic": dynamic}
    return "_".join(way for way, is_on in chosen.items() if is_on) or "static"


def measure_online_learning(
    model: LanguageModel, documents: Sequence[TokenIds], *, mixture: NGramMixture | None = None
) -> dict[str, OnlineCost]:
    """The costs of all documents under every set of ways; arguments as ``score_online``."""
    costs: dict[str, OnlineCost] = {}
    for tokens in documents:
        for parts in score_online(model, tokens, mixture=mixture):
            for name, part in parts.items():
                cost = costs.setdefault(name, OnlineCost())
                cost.nats += float(part.nats.sum())
                cost.seconds += part.seconds
    return costs


def score_online(
    model: LanguageModel, tokens: TokenIds, *, mixture: NGramMixture | None = None
) -> Iterator[dict[str, ChunkCost]]:
    """Score a document chunk by chunk under every set of ways.

    Args:
        model: the network; it is not changed.
        tokens: ids of one document, ``(N,)``, the document end before it included.
        mixture: the counts that are mixed in; without them there is no overlay.

    Yields:
        For each chunk, by the names of the sets, what it costs.
    """
    overlays = (False,) if mixture is None else (False, True)
    readers = {
        (adapted, dynamic): MixtureScorer(mixture, adapted=adapted) for dynamic in (False, True) for adapted in overlays
    }
    cache = NeuralCache(model.architecture.embedding_size)
    chunks = read_documents(model, [tokens], chunk_len=SEGMENTS * DEFAULT.segment_len, batch_size=1)
    segments = dynamic_logits(model, tokens, DEFAULT)
    watch = _Stopwatch()
    for chunk in chunks:
        reading = {False: watch.lap()}
        moved = chunk._replace(logits=torch.cat([logits for logits, _ in islice(segments, SEGMENTS)]))
        reading[True] = watch.lap()
        cached, shares = _read_cache(cache, chunk)
        # Beside a moving network the cache needs the one at rest.
        caching = watch.lap() + np.array([0.0, reading[False]])
        parts = {}
        for (adapted, dynamic), mixed in readers.items():
            nats = mixed.predict(moved if dynamic else chunk).nats
            seconds = reading[dynamic] + watch.lap()
            parts[learner_name(adapted=adapted, dynamic=dynamic)] = ChunkCost(nats, seconds)
            with_cache = -np.log((1 - shares) * np.exp(-nats) + shares * cached)
            seconds += float(caching[int(dynamic)])
            parts[learner_name(adapted=adapted, cache=True, dynamic=dynamic)] = ChunkCost(with_cache, seconds)
        yield parts
        watch.lap()  # what the caller did


def _read_cache(cache: NeuralCache, chunk: Chunk) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The cache's probabilities of the chunk's targets and its shares in the mixture, ``(n,)`` each."""
    found = []
    for features, target in zip(chunk.features.cpu().numpy(), chunk.tokens[1:].tolist(), strict=True):
        probabilities, share = cache.predict(features, chunk.logits.shape[1])
        found.append((probabilities[target], share))
        cache.learn(features, target)
    probabilities_and_shares = np.array(found, np.float64)
    return probabilities_and_shares[:, 0], probabilities_and_shares[:, 1]


class _Stopwatch:
    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self._last = self._last, time.perf_counter()
        return self._last - before
