"""What the first token after a prompt may add to its text, over all segmentations of the prompt's end.

Shapes: V vocab_size, K hypotheses kept, D distinct texts that a first token can add.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from gru_complete.arrays import Float64Array, FloatArray
from gru_complete.runtime.characters import CharacterMasks, continues
from gru_complete.runtime.piece_index import PieceIndex
from gru_complete.runtime.predictor import DecoderState
from gru_complete.runtime.sampling import draw
from gru_complete.text.tokenizer import DOCUMENT_END


class Row(NamedTuple):
    """A hypothesis with the prediction of what follows it.

    Attributes:
        log_weight: of its tokens, such that the masses of all rows sum to 1.
        decoder_state: where its last token ends.
        remainder: the bytes after that. The next token begins with them and is longer. A token that equals them does
            not count here: it led to a hypothesis of its own.
        log_probabilities: of every next token, ``(V,)``, whether it begins with the remainder or not.
    """

    log_weight: float
    decoder_state: DecoderState
    remainder: bytes
    log_probabilities: FloatArray


class Choice(NamedTuple):
    """A token that adds a certain text.

    Attributes:
        row: the number of the hypothesis that it follows.
        token: its id.
        share: its share of the text's probability.
    """

    row: int
    token: int
    share: float


class FirstTokens:
    """What may come next, as text: the bytes that one more token adds.

    Args:
        texts: D different byte strings; b"" is the document end. ``PieceIndex.distinct`` comes first, then the texts
            that are only the end of a piece.
        log_probabilities: of each text, ``(D,)``; -inf where it cannot come. Their exponentials sum to 1.
        rows: the K hypotheses behind them.
        pieces: the vocabulary.
    """

    def __init__(
        self, texts: Sequence[bytes], log_probabilities: Float64Array, rows: Sequence[Row], pieces: PieceIndex
    ) -> None:
        self.texts = texts
        self.log_probabilities = log_probabilities
        self.rows = rows
        self.pieces = pieces

    def choices(self, index: int) -> list[Choice]:
        """Return the tokens that add a text, with their posterior probabilities, which sum to 1."""
        text = self.texts[index]
        weighted = []
        for number, row in enumerate(self.rows):
            for token in self._tokens_adding(text, row.remainder):
                log_mass = row.log_weight + float(row.log_probabilities[token])
                weighted.append((number, token, log_mass))
        peak = max(log_mass for _, _, log_mass in weighted)
        masses = [math.exp(log_mass - peak) for _, _, log_mass in weighted]
        total = sum(masses)
        return [Choice(row, token, mass / total) for (row, token, _), mass in zip(weighted, masses, strict=True)]

    def choose(self, index: int, uniform: Callable[[], float], *, greedy: bool) -> Choice:
        """Choose the token that adds a text: the most likely one, or one drawn by its share.

        Args:
            index: of the text.
            uniform: returns random numbers from [0, 1); called only if there are several tokens to draw from.
            greedy: take the most likely token.
        """
        choices = self.choices(index)
        shares = np.array([choice.share for choice in choices])
        if greedy:
            return choices[int(shares.argmax())]
        return choices[draw(shares, uniform()) if len(choices) > 1 else 0]

    def indices_of_tokens(self, tokens: Sequence[int]) -> list[int]:
        """Return which texts some of these tokens add, as ascending indices."""
        indices = set()
        for remainder in {row.remainder for row in self.rows}:
            for token in set(tokens):
                piece = self.pieces.pieces[token]
                if not remainder:
                    indices.add(int(self.pieces.place[token]))
                elif piece.startswith(remainder) and len(piece) > len(remainder):
                    indices.add(self._index[piece[len(remainder) :]])
        return sorted(indices)

    @property
    def places(self) -> dict[bytes, list[int]]:
        """Where each text is, as ``repeats.repeating`` takes it."""
        first = len(self.pieces.distinct)
        return self.pieces.places_of | {text: [first + number] for number, text in enumerate(self.texts[first:])}

    @cached_property
    def _index(self) -> dict[bytes, int]:
        first = len(self.pieces.distinct)
        return self.pieces.place_of | {text: first + number for number, text in enumerate(self.texts[first:])}

    def _tokens_adding(self, text: bytes, remainder: bytes) -> list[int]:
        if not text:
            return [] if remainder else [DOCUMENT_END]
        return self.pieces.tokens(remainder + text)


class FirstTokenMasks:
    """Which first tokens continue an unfinished character, or begin a new one, so that the output is text.

    Args:
        pieces: the vocabulary.
        masks: the same for tokens instead of texts.
    """

    def __init__(self, pieces: PieceIndex, masks: CharacterMasks) -> None:
        self._pieces = pieces
        self._masks = masks
        self._mask_of_distinct = lru_cache(16)(self._compute_mask_of_distinct)

    def mask(self, first_tokens: FirstTokens, pending: bytes) -> FloatArray:
        """Return 0 for each text that may follow the first bytes of a character, -inf for the others, ``(D,)``."""
        of_distinct = self._mask_of_distinct(pending)
        rest = [0.0 if continues(pending, text) else -np.inf for text in first_tokens.texts[len(of_distinct) :]]
        mask: FloatArray = np.concatenate((of_distinct, np.array(rest, np.float32)))
        return mask

    def allow_any(self, first_tokens: FirstTokens, pending: bytes) -> bool:
        """Whether any text is both possible and allowed."""
        scores, mask = first_tokens.log_probabilities, self._mask_of_distinct(pending)
        if (scores[: len(mask)] + mask > -np.inf).any():  # nearly always, and then the other texts need no check
            return True
        return bool((scores + self.mask(first_tokens, pending) > -np.inf).any())

    def _compute_mask_of_distinct(self, pending: bytes) -> FloatArray:
        """The part of ``mask`` that is the same for all prompts: that of ``PieceIndex.distinct``."""
        mask = np.full(len(self._pieces.distinct), -np.inf, np.float32)
        mask[self._pieces.place] = self._masks.after(pending)
        return mask
