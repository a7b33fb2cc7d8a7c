"""Contexts of the n-gram model, and how well it knows them.

Shapes: N contexts, or tokens of a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gru_complete.arrays import Float32Array

if TYPE_CHECKING:
    from numpy.typing import NDArray

Context = tuple[int, ...]
"""A context as the nodes of its last 1, 2, ... order - 1 tokens, -1 where that n-gram is not stored.

Where a text begins in the middle of something (``NGrams.cut_off_context``), it is ``CUT_OFF`` for the lengths that
would reach back beyond the beginning.
"""

CUT_OFF = -2


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
