"""How likely a slip is to leave one word where another was meant: a noisy channel, taken from the model itself.

Of the words w that a slip may leave where ``a`` was meant::

    slip(w | a) = c(w) exp(S min(cos(e_w, e_a), L)) / (sum over words v: c(v) exp(S min(cos(e_v, e_a), L)))

so a word is the likelier, the more often it is written at all (c, how often the counts saw it) and the more alike both
are used (e, the rows of the embedding, less their mean). Words that are more alike than L are all the same to it: those
are names, titles and other words that nobody mistakes for one another because any of them would do.

Shapes: C words of the vocabulary, E embedding_size, V vocab_size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from gru_complete.arrays import Float64Array, FloatArray, IndexArray
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.predictor import Predictor

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")

_SHARPNESS = 6.0  # S
_ALIKE = 0.6  # L
_UNLIKE = -1.0  # the cosine for words that the vocabulary has in parts only: mostly names, and seldom slips
_MAX_REMAINDERS = 64  # whose words are kept
_FREQUENT = 1000  # words that the sum over v runs over


class Words:
    """The vocabulary's whole words after the same bytes, as alternatives.

    Attributes:
        tokens: one for each word, ``(C,)``.
        words: what each writes after those bytes.
        vectors: how each is used, ``(C, E)``, of length 1.
        log_sums: the logarithm of the sum over v in the slips of each, ``(C,)``.
    """

    def __init__(self, tokens: IndexArray, words: list[str], vectors: FloatArray, log_sums: Float64Array) -> None:
        self.tokens = tokens
        self.words = words
        self.vectors = vectors
        self.log_sums = log_sums


class ErrorModel:
    """The slips that one model knows; see the module.

    Args:
        completer: the model.
    """

    def __init__(self, completer: Completer) -> None:
        self._pieces = completer.pieces
        self._mixture = completer.predictor.mixture
        self.unigrams = self._unigrams(completer.predictor)
        self._vectors = _directions(completer.predictor.stepper.embedding)
        self._token_of: dict[str, int] = {}  # that writes a word by itself; after a space, if there is one
        for start in (b"", b" "):
            for token, piece in enumerate(self._pieces.pieces):
                word = _whole_word(piece, start)
                if word is not None:
                    self._token_of[word] = token
        frequent = np.array(list(self._token_of.values()), np.intp)
        frequent = frequent[np.argsort(-self.unigrams[frequent], kind="stable")[:_FREQUENT]]
        self._frequent = self._vectors[frequent]
        self._frequent_shares = np.exp(self.unigrams[frequent])
        self._words: dict[bytes, Words] = {}

    def words_after(self, remainder: bytes) -> Words:
        """The words that one token writes after it wrote these bytes, mostly a space."""
        found = self._words.get(remainder)
        if found is None:
            first, _, stop = self._pieces.range(remainder)
            tokens, words = [], []
            for token in self._pieces.order[first:stop].tolist():
                word = _whole_word(self._pieces.pieces[token], remainder)
                if word is not None:
                    tokens.append(token)
                    words.append(word)
            vectors = self._vectors[
                [self._token_of.get(word, token) for word, token in zip(words, tokens, strict=True)]
            ]
            sums = np.concatenate(
                [
                    np.exp(_SHARPNESS * np.minimum(part @ self._frequent.T, _ALIKE)) @ self._frequent_shares
                    for part in np.array_split(vectors, 1 + len(vectors) // 1024)
                ]
            )
            found = Words(np.array(tokens, np.intp), words, vectors, np.log(np.maximum(sums, 1e-30)))
            if len(self._words) >= _MAX_REMAINDERS:
                self._words.clear()
            self._words[remainder] = found
        return found

    def log_probabilities(self, word: str, tokens: Sequence[int], words: Words) -> Float64Array:
        """The log probability that a slip which hits each of some words leaves ``word`` there, ``(C,)``.

        Args:
            word: what stands there.
            tokens: that write it, at least one.
            words: what may have been meant.
        """
        own = self._token_of.get(word)
        if own is None:
            likeness: Float64Array = np.full(len(words.words), _UNLIKE)
        else:
            likeness = np.minimum(words.vectors @ self._vectors[own], _ALIKE).astype(np.float64)
        result: Float64Array = _SHARPNESS * likeness + self._frequency(tokens) - words.log_sums
        return np.minimum(result, 0.0)

    def _frequency(self, tokens: Sequence[int]) -> float:
        """The log probability of tokens after nothing in particular."""
        total = float(self.unigrams[tokens[0]])
        if self._mixture is not None:
            ngrams = self._mixture.ngrams
            nodes = ngrams.advance(ngrams.empty_context(), tokens[0])
            for token in tokens[1:]:
                total += math.log(float(ngrams.distribution(nodes)[token]))
                nodes = ngrams.advance(nodes, token)
        else:
            total += sum(float(self.unigrams[token]) for token in tokens[1:])
        return total

    def _unigrams(self, predictor: Predictor) -> Float64Array:
        """The log probability of each token after nothing in particular, ``(V,)``."""
        if self._mixture is not None:
            return np.asarray(np.log(self._mixture.ngrams.token_frequencies()))
        # Without counts: what the network says of each token wherever it stands, which tied weights put there.
        bias = predictor.stepper.output_bias.astype(np.float64)
        peak = bias.max()
        return np.asarray(bias - peak - math.log(float(np.exp(bias - peak).sum())))


def _directions(embedding: FloatArray) -> FloatArray:
    """The rows of an embedding less their mean, of length 1."""
    centred = embedding - embedding.mean(axis=0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    return np.asarray(centred, np.float32)


def _whole_word(piece: bytes, start: bytes) -> str | None:
    """The word that a piece writes after some bytes that it begins with; None if it is none."""
    if not piece.startswith(start):
        return None
    try:
        text = piece[len(start) :].decode()
    except UnicodeDecodeError:
        return None
    return text if WORD.fullmatch(text) else None
