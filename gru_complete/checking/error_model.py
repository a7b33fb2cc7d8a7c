"""The error model of `check`: how likely it is that one word was written where another was meant.

This is the channel of a noisy-channel spelling model (Kernighan, Church and Gale 1990), taken from the language model
itself. The probability that a word w was written where ``a`` was meant, given that an error happened there, is::

    error(w | a) = c(w) exp(S min(cos(e_w, e_a), L)) / (sum over words v: c(v) exp(S min(cos(e_v, e_a), L)))

So an error is more likely to leave a word the more frequent that word is (c, its frequency by the n-gram counts) and
the more similarly both words are used (e, the rows of the embedding minus their mean). Words more similar than L all
count alike: these are names, titles and other words that nobody mistakes for one another, since any would do.

Shapes: K candidates, E embedding_size, V vocab_size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from gru_complete.arrays import Float64Array, FloatArray, IndexArray
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.predictor import Predictor
from gru_complete.text.letters import mark_class

_LETTERS = rf"[^\W\d_](?:[^\W\d_]|[{mark_class()}])*"
WORD = re.compile(rf"{_LETTERS}(?:['’]{_LETTERS})*")
"""What `check` calls a word: letters with their marks, and apostrophes between them."""

_SHARPNESS = 6.0  # S
_MAX_SIMILARITY = 0.6  # L
_SPLIT_WORD_SIMILARITY = -1.0  # the cosine for words of several tokens: mostly names, and seldom errors
_MAX_CACHED_PREFIXES = 64
_NUM_FREQUENT = 1000  # the sum over v covers the most frequent words only


class Candidates:
    """Words that a single token can write after the same bytes.

    Attributes:
        tokens: the token of each word, ``(K,)``.
        words: the words, K of them.
        vectors: how each word is used: rows of the centred embedding with length 1, ``(K, E)``.
        log_sums: the logarithm of the denominator of ``error(w | a)`` for each word as a, ``(K,)``.
    """

    def __init__(self, tokens: IndexArray, words: list[str], vectors: FloatArray, log_sums: Float64Array) -> None:
        self.tokens = tokens
        self.words = words
        self.vectors = vectors
        self.log_sums = log_sums


class ErrorModel:
    """The error model that comes with one language model; see the module.

    Args:
        completer: the language model.

    Attributes:
        unigrams: the log probability of each token without any context, ``(V,)``.
    """

    def __init__(self, completer: Completer) -> None:
        self._pieces = completer.pieces
        self._mixture = completer.predictor.mixture
        self.unigrams = self._unigrams(completer.predictor)
        self._vectors = _directions(completer.predictor.stepper.embedding)
        # The token that writes a whole word; if one token writes it after a space, that one.
        self._token_of: dict[str, int] = {}
        for prefix in (b"", b" "):
            for token, piece in enumerate(self._pieces.pieces):
                word = _whole_word(piece, prefix)
                if word is not None:
                    self._token_of[word] = token
        frequent = np.array(list(self._token_of.values()), np.intp)
        frequent = frequent[np.argsort(-self.unigrams[frequent], kind="stable")[:_NUM_FREQUENT]]
        self._frequent = self._vectors[frequent]
        self._frequent_shares = np.exp(self.unigrams[frequent])
        self._candidates: dict[bytes, Candidates] = {}

    def candidates_after(self, prefix: bytes) -> Candidates:
        """The words that one token can write after these bytes, with which the token begins: mostly a space."""
        candidates = self._candidates.get(prefix)
        if candidates is None:
            candidates = self._find_candidates(prefix)
            if len(self._candidates) >= _MAX_CACHED_PREFIXES:
                self._candidates.clear()
            self._candidates[prefix] = candidates
        return candidates

    def _find_candidates(self, prefix: bytes) -> Candidates:
        """Collect the words after a prefix, and sum up the denominators of their errors."""
        first, _, stop = self._pieces.range(prefix)
        tokens, words = [], []
        for token in self._pieces.order[first:stop].tolist():
            word = _whole_word(self._pieces.pieces[token], prefix)
            if word is not None:
                tokens.append(token)
                words.append(word)
        vectors = self._vectors[[self._token_of.get(word, token) for word, token in zip(words, tokens, strict=True)]]
        sums = np.concatenate(
            [
                np.exp(_SHARPNESS * np.minimum(part @ self._frequent.T, _MAX_SIMILARITY)) @ self._frequent_shares
                for part in np.array_split(vectors, 1 + len(vectors) // 1024)
            ]
        )
        return Candidates(np.array(tokens, np.intp), words, vectors, np.log(np.maximum(sums, 1e-30)))

    def log_probabilities(self, word: str, tokens: Sequence[int], candidates: Candidates) -> Float64Array:
        """``log error(word | a)`` for each candidate a, ``(K,)``.

        Args:
            word: the word in the text.
            tokens: the tokens that write it, at least one.
            candidates: the words that may have been meant.
        """
        single_token = self._token_of.get(word)
        if single_token is None:
            similarity: Float64Array = np.full(len(candidates.words), _SPLIT_WORD_SIMILARITY)
        else:
            cosines = candidates.vectors @ self._vectors[single_token]
            similarity = np.minimum(cosines, _MAX_SIMILARITY).astype(np.float64)
        result: Float64Array = _SHARPNESS * similarity + self._log_frequency(tokens) - candidates.log_sums
        return np.minimum(result, 0.0)

    def _log_frequency(self, tokens: Sequence[int]) -> float:
        """The log probability of a few tokens without any context before them."""
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
        """The log probability of each token without any context, ``(V,)``."""
        if self._mixture is not None:
            return np.asarray(np.log(self._mixture.ngrams.token_frequencies()))
        # Without n-gram counts: with tied weights the output bias is what the network says in every context.
        bias = predictor.stepper.output_bias.astype(np.float64)
        peak = bias.max()
        return np.asarray(bias - peak - math.log(float(np.exp(bias - peak).sum())))


def _directions(embedding: FloatArray) -> FloatArray:
    """The rows of an embedding minus their mean, scaled to length 1."""
    centred = embedding - embedding.mean(axis=0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    return np.asarray(centred, np.float32)


def _whole_word(piece: bytes, prefix: bytes) -> str | None:
    """The word that a piece writes after a prefix; None if the piece has another prefix or is not a whole word."""
    if not piece.startswith(prefix):
        return None
    try:
        text = piece[len(prefix) :].decode()
    except UnicodeDecodeError:
        return None
    return text if WORD.fullmatch(text) else None
