"""Contexts of the n-gram model, and how well it knows them.

Shapes: N contexts, or tokens of a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from gru_complete.arrays import Float32Array, IntArray, TokenIds

if TYPE_CHECKING:
    from numpy.typing import NDArray

Context = tuple[int, ...]
"""A context as the nodes of its last 1, 2, ... order - 1 tokens, -1 where that n-gram is not stored.

Where a text begins in the middle of something (``NGrams.cut_off_context``), it is ``CUT_OFF`` for the lengths that
would reach back beyond the beginning.
"""

CUT_OFF = -2
NUM_SLOPES = 2


class Evidence(NamedTuple):
    """How well a context is known.

    Attributes:
        length: tokens in the longest end of the context that has followers, 0 for none.
        total: what was counted after it.
        num_followers: how many different tokens followed it.
    """

    length: int
    total: float
    num_followers: int


class EvidenceArrays(NamedTuple):
    """The evidence of N contexts, ``(N,)`` each; see ``Evidence``."""

    lengths: NDArray[Any]
    totals: NDArray[Any]
    num_followers: NDArray[Any]

    @classmethod
    def from_evidence(cls, evidence: Sequence[Evidence]) -> EvidenceArrays:
        """Stack the evidence of at least one context."""
        return cls(*map(np.array, zip(*evidence, strict=True)))

    def to_list(self) -> list[Evidence]:
        """The evidence of each context."""
        return list(map(Evidence, self.lengths.tolist(), self.totals.tolist(), self.num_followers.tolist()))


class StreamScores(NamedTuple):
    """What the n-gram model says of the tokens of a stream, each after those before it.

    Attributes:
        probabilities: of each token but the first, ``(N - 1,)``.
        lengths: tokens in the longest context that has followers, 0 for none, ``(N - 1,)``.
        totals: what was counted after that context, ``(N - 1,)``.
        num_followers: how many different tokens are stored for it, ``(N - 1,)``.
    """

    probabilities: Float32Array
    lengths: NDArray[np.int8]
    totals: Float32Array
    num_followers: NDArray[np.int32]

    @property
    def evidence(self) -> EvidenceArrays:
        """How well the context of each token is known."""
        return EvidenceArrays(self.lengths, self.totals, self.num_followers)


def evidence_features(evidence: EvidenceArrays, order: int) -> Float32Array:
    """The evidence as the mixing weights and the shares of a pair see it, ``(N, order + NUM_SLOPES)``.

    One of the first ``order`` columns is 1, that of the context's length; the other two measure how often the context
    was seen and how varied its followers are.
    """
    rows = np.zeros((len(evidence.lengths), order + NUM_SLOPES), np.float32)
    rows[np.arange(len(rows)), evidence.lengths] = 1
    totals = np.maximum(np.asarray(evidence.totals, np.float32), 1)
    rows[:, order] = np.log1p(totals) / 3
    rows[:, order + 1] = np.log(np.asarray(evidence.num_followers, np.float32) / totals + 1e-3)
    return rows


class StreamModel(Protocol):
    """What ``total_nats`` needs: an n-gram model, or a pair of them."""

    def empty_context(self) -> Context:
        """The context in which nothing has been read."""

    def contexts(self, stream: TokenIds, start: Context | None = None) -> IntArray:
        """The context after each token of a stream."""

    def score_stream(self, stream: TokenIds, start: Context | None = None) -> StreamScores:
        """Score every token of a stream but the first."""


def total_nats(model: StreamModel, tokens: TokenIds, *, chunk_len: int = 1 << 16) -> float:
    """What all tokens of a stream but the first cost together, in nats; long streams are read in chunks."""
    total, context = 0.0, model.empty_context()
    for start in range(0, len(tokens) - 1, chunk_len):
        chunk = np.asarray(tokens[start : start + chunk_len + 1])
        total -= float(np.log(model.score_stream(chunk, context).probabilities, dtype=np.float64).sum())
        context = tuple(model.contexts(chunk[:-1], context)[-1].tolist())
    return total
