"""One distribution from two: what the GRU and the n-gram model say of the next token.

Three experts are mixed: the n-gram model, the GRU, and the product of both, each raised to a power of its own (a
log-linear mixture, renormalised), which is sure where both are. The powers a, b and the shares s_0, s_1, s_2 depend on
the evidence of the context alone: how long it is, how often it was seen and how many different tokens followed it::

    e(w) = p_gru(w) ** a * p_ngrams(w) ** b / Z
    p(w) = s_0 e(w) + s_1 p_ngrams(w) + s_2 p_gru(w)

They come from a small table with a row for each length and two slopes: the mixing weights. Those are fitted on the
tuning split (the validation split), which neither the GRU nor the n-gram model has seen (``training/mixing.py``).
Features of the two distributions besides, their entropies or peaks, gained nothing on held-out text
(``benchmarks/recipes.md``).

Where a prompt has just begun, a short context is all there is to know, and not all that is left of a longer one that
was never seen: there other mixing weights hold, fitted on beginnings.

Shapes: N positions of a text, V vocab_size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gru_complete.arrays import Float32Array
from gru_complete.errors import ModelError
from gru_complete.ngrams.counts import NGrams
from gru_complete.ngrams.evidence import CUT_OFF, NUM_SLOPES, Context, Evidence, EvidenceArrays, evidence_features
from gru_complete.ngrams.pair import SHARES, NGramPair
from gru_complete.storage.tensors import parse_safetensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_OUTPUTS = 5  # a, b, and the logarithms of s_0, s_1, s_2, up to a constant
_COUNTS_ALONE = (0.0, 1.0, 0.0, 0.0, -30.0)  # a product that is the n-gram model's distribution, and no network
_MAX_WEIGHT = 1000.0
_CACHED_CONTEXTS = 4096  # most contexts of a text have the same evidence as others
_BLOCK_VALUES = 1 << 15  # probabilities that are mixed at once: their working memory fits into the cache
_MIXTURE, _BEGINNINGS, _ADAPTS = "mixture", "mixture.beginnings", "adapts"


class MixingWeights:
    """The table from the evidence of a context to the powers and shares of the experts.

    Args:
        weights: float32, ``(order + NUM_SLOPES, NUM_OUTPUTS)``: a row for each context length, then the two slopes.
    """

    def __init__(self, weights: Float32Array) -> None:
        self.weights = weights

    @classmethod
    def constant(cls, outputs: Sequence[float], order: int) -> MixingWeights:
        """Those with the same ``NUM_OUTPUTS`` outputs whatever the evidence is."""
        weights = np.zeros((order + NUM_SLOPES, NUM_OUTPUTS), np.float32)
        weights[:order] = outputs
        return cls(weights)

    @classmethod
    def of_counts_alone(cls, order: int) -> MixingWeights:
        """Those under which the mixture is the n-gram model."""
        return cls.constant(_COUNTS_ALONE, order)

    @property
    def are_of_counts_alone(self) -> bool:
        """Whether they are those of the counts alone."""
        return bool(np.array_equal(self.weights, self.of_counts_alone(self.order).weights))

    @property
    def order(self) -> int:
        """The order of the n-gram model they were fitted for."""
        return len(self.weights) - NUM_SLOPES

    @cached_property
    def of_whole_contexts(self) -> MixingWeights:
        """Those that take a short context for as good as the longest: a guess at the mixing weights of beginnings."""
        weights = self.weights.copy()
        weights[1 : self.order] = weights[self.order - 1]
        return MixingWeights(weights)

    def powers_and_shares(self, evidence: EvidenceArrays) -> Float32Array:
        """The powers a and b and the shares s_0, s_1, s_2 in the contexts, each a column: ``(NUM_OUTPUTS, N, 1)``."""
        outputs: Float32Array = (evidence_features(evidence, self.order) @ self.weights).T[..., None]
        shares = np.exp(outputs[2:] - outputs[2:].max(axis=0))
        outputs[2:] = shares / shares.sum(axis=0)
        return outputs

    def powers_and_shares_of_one(self, length: int, total: float, num_followers: int) -> list[float]:
        """``powers_and_shares`` of one context, ``(NUM_OUTPUTS,)``, in plain numbers: a tenth of the time of arrays."""
        total = max(total, 1.0)
        frequency, variety = math.log1p(total) / 3, math.log(num_followers / total + 1e-3)
        rows = self._rows[length], self._rows[self.order], self._rows[self.order + 1]
        outputs = [start + frequency * first + variety * second for start, first, second in zip(*rows, strict=True)]
        power_gru, power_ngrams, *scores = outputs
        largest = max(scores)
        product, ngrams, gru = [math.exp(score - largest) for score in scores]
        whole = product + ngrams + gru
        return [power_gru, power_ngrams, product / whole, ngrams / whole, gru / whole]

    @cached_property
    def _rows(self) -> list[list[float]]:
        rows: list[list[float]] = self.weights.tolist()
        return rows

    def mix(self, logits: Float32Array, counted: Float32Array, powers_and_shares: Float32Array) -> Float32Array:
        """Mix the distributions of N positions.

        Args:
            logits: the GRU's unnormalised scores, ``(N, V)``.
            counted: the n-gram model's probabilities, ``(N, V)``, all above 0.
            powers_and_shares: what the method of that name returned, ``(NUM_OUTPUTS, N, 1)``.

        Returns:
            Probabilities, ``(N, V)``, each row's sum 1.
        """
        # The n-gram model's power first, as it lies before the GRU in the rows of _mix_block.
        powers = powers_and_shares[1::-1].transpose(1, 2, 0)
        shares = powers_and_shares[2:].transpose(1, 2, 0)
        mixed = np.empty_like(counted)
        block = max(1, _BLOCK_VALUES // counted.shape[1])
        for start in range(0, len(counted), block):
            rows = slice(start, start + block)
            _mix_block(logits[rows], counted[rows], powers[rows], shares[rows], mixed[rows])
        return mixed

    def mix_one(self, logits: Float32Array, counted: Float32Array, evidence: Evidence) -> Float32Array:
        """``mix`` of a single row ``(V,)``, in as few calls of numpy as possible: those are what it costs."""
        powers, shares = self._cached_powers_and_shares(*evidence)
        rows = np.empty((3, len(logits)), np.float32)  # the product, the n-gram model, the GRU
        product, gru = rows[0], rows[2]
        peak = logits.argmax()
        np.subtract(logits, logits[peak : peak + 1], gru)
        np.log(counted, rows[1])
        powers.dot(rows[1:], product)
        peak = product.argmax()
        np.subtract(product, product[peak : peak + 1].copy(), product)
        np.exp(rows[::2], rows[::2])
        rows[1] = counted
        shares = shares / rows.dot(_ones(len(logits)))  # faster than sum
        mixed: Float32Array = shares.dot(rows)
        return mixed

    @cached_property
    def _cached_powers_and_shares(self) -> Callable[[int, float, int], tuple[Float32Array, Float32Array]]:
        """``powers_and_shares_of_one`` with a cache, as ``mix_one`` wants it.

        The powers ``(2,)``, the n-gram model's first, and the shares ``(3,)``.
        """

        def compute(length: int, total: float, num_followers: int) -> tuple[Float32Array, Float32Array]:
            power_gru, power_ngrams, *shares = self.powers_and_shares_of_one(length, total, num_followers)
            return np.array([power_ngrams, power_gru], np.float32), np.array(shares, np.float32)

        return lru_cache(_CACHED_CONTEXTS)(compute)


class NGramMixture(NamedTuple):
    """The n-gram model and how it is mixed with the GRU: what ``ngrams.safetensors`` holds.

    Attributes:
        ngrams: the n-gram model of the text, perhaps with that of a base.
        mixing: the mixing weights.
        adapts: whether learning from the current document (``overlay``) gained on the tuning split, so that it is on
            by default.
        beginnings: the mixing weights where the beginning of a prompt cuts contexts off; None in older models.
    """

    ngrams: NGrams | NGramPair
    mixing: MixingWeights
    adapts: bool
    beginnings: MixingWeights | None = None

    @property
    def mixing_of_beginnings(self) -> MixingWeights:
        """The mixing weights where the beginning of a prompt cuts contexts off."""
        return self.beginnings or self.mixing.of_whole_contexts

    def predict(self, logits: Float32Array, context: Context) -> tuple[Float32Array, Evidence]:
        """Mix the distribution after one context, and say how well the n-gram model knows that context.

        Args:
            logits: the GRU's unnormalised scores, ``(V,)``.
            context: the n-gram model's.

        Returns:
            Probabilities ``(V,)`` and the evidence.
        """
        counted, evidence = self.ngrams.distribution_and_evidence(context)
        mixing = self.mixing_of_beginnings if CUT_OFF in context else self.mixing
        return mixing.mix_one(logits, counted, evidence), evidence

    def predict_many(self, logits: Float32Array, contexts: Sequence[Context]) -> tuple[Float32Array, EvidenceArrays]:
        """``predict`` for N contexts at once: from the GRU's scores ``(N, V)`` to probabilities ``(N, V)``."""
        counted, evidence = self.ngrams.distributions_and_evidence(contexts)
        gates = self.mixing.powers_and_shares(evidence)
        begins = [CUT_OFF in context for context in contexts]
        if any(begins):
            gates[:, begins] = self.mixing_of_beginnings.powers_and_shares(evidence)[:, begins]
        return self.mixing.mix(logits, counted, gates), evidence

    def to_bytes(self) -> bytes:
        """The bytes of ``ngrams.safetensors``."""
        from safetensors.numpy import save  # here, so that reading a model does not wait for it

        arrays = self.ngrams.to_arrays()
        arrays |= {_MIXTURE: self.mixing.weights, _ADAPTS: np.array([self.adapts], np.uint8)}
        if self.beginnings is not None:
            arrays[_BEGINNINGS] = self.beginnings.weights
        data: bytes = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        return data

    @classmethod
    def from_bytes(cls, data: bytes, *, vocab_size: int, name: str) -> NGramMixture:
        """Read what ``to_bytes`` wrote, or a stranger's file.

        Args:
            data: the bytes.
            vocab_size: V, of the model that the file belongs to.
            name: of the file, for messages.

        Raises:
            ModelError: it is something else.
        """
        arrays = parse_safetensors(data, name=name)
        try:
            mixing, adapts = _checked_mixing(arrays, _MIXTURE), _checked_adapts(arrays)
            beginnings = _checked_mixing(arrays, _BEGINNINGS) if _BEGINNINGS in arrays else None
            counts = {key: array for key, array in arrays.items() if key not in (_MIXTURE, _BEGINNINGS, _ADAPTS)}
            kind: type[NGrams | NGramPair] = NGramPair if SHARES in counts else NGrams
            ngrams = kind.from_arrays(counts, vocab_size)
            if {mixing.order, (beginnings or mixing).order} != {ngrams.order}:
                raise ModelError(
                    f"the mixing weights are for the order {mixing.order}, the n-gram model has {ngrams.order}"
                )
        except ModelError as error:
            raise ModelError(f"{name}: {error}", hint=error.hint) from None
        return cls(ngrams, mixing, adapts, beginnings)


def _mix_block(
    logits: Float32Array, counted: Float32Array, powers: Float32Array, shares: Float32Array, mixed: Float32Array
) -> None:
    """Fill the mixed probabilities of some rows ``(N, V)``, given the powers ``(N, 1, 2)`` and shares ``(N, 1, 3)``."""
    rows = np.empty((len(logits), 3, logits.shape[1]), np.float32)  # the product, the n-gram model, the GRU
    product, gru = rows[:, 0], rows[:, 2]
    np.subtract(logits, np.maximum.reduce(logits, axis=1, keepdims=True), gru)  # faster than max
    np.log(counted, rows[:, 1])
    np.matmul(powers, rows[:, 1:], rows[:, :1])
    product -= np.maximum.reduce(product, axis=1, keepdims=True)
    np.exp(rows[:, ::2], rows[:, ::2])
    rows[:, 1] = counted
    np.matmul(shares / rows.dot(_ones(logits.shape[1]))[:, None], rows, mixed[:, None])  # dot is faster than sum


@lru_cache(4)
def _ones(number: int) -> Float32Array:
    return np.ones(number, np.float32)


def _checked_mixing(arrays: Mapping[str, NDArray[Any]], name: str) -> MixingWeights:
    """Mixing weights, checked since they may come from a stranger."""
    weights = arrays.get(name)
    if (
        weights is None
        or weights.dtype != np.float32
        or weights.ndim != 2
        or weights.shape[0] <= NUM_SLOPES
        or weights.shape[1] != NUM_OUTPUTS
        or not bool((np.abs(weights) <= _MAX_WEIGHT).all())
    ):
        raise ModelError("the mixing weights are missing or malformed")
    return MixingWeights(weights)


def _checked_adapts(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Whether the mixture adapts, checked likewise."""
    adapts = arrays.get(_ADAPTS)
    if adapts is None or adapts.dtype != np.uint8 or adapts.shape != (1,) or adapts[0] > 1:
        raise ModelError("the n-gram mixture does not say whether it adapts")
    return bool(adapts[0])
