"""What the first token after a prompt may add to its text, over all segmentations of the prompt's end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from gru_complete.arrays import Float64Array, FloatArray
from gru_complete.runtime.piece_index import PieceIndex
from gru_complete.runtime.predictor import DecoderState
from gru_complete.text.tokenizer import DOCUMENT_END


class Row(NamedTuple):
    """A hypothesis with what follows it.

    Attributes:
        log_weight: of its tokens, such that the masses of all rows sum to 1.
        decoder_state: the model, where its last token ends.
        remainder: the bytes after that. The next token begins with them and is longer; one that equals them does not
            count here, it has led to a hypothesis of its own.
        log_probabilities: of every next token, ``(V,)``, remainder or not.
    """

    log_weight: float
    decoder_state: DecoderState
    remainder: bytes
    log_probabilities: FloatArray


class Choice(NamedTuple):
    """A token that gives a text: after which row, which token, and its share of the text's probability."""

    row: int
    token: int
    share: float


class FirstTokens:
    """What may come next, as text: the bytes that one more token adds.

    Attributes:
        texts: all different; b"" is the document's end. The first D are ``PieceIndex.distinct``, then come those that
            are only the end of some piece.
        log_probabilities: of each text, ``(len(texts),)``; -inf where it cannot come. Their exponentials sum to 1.
        rows: the hypotheses behind them.
    """

    def __init__(
        self, texts: Sequence[bytes], log_probabilities: Float64Array, rows: Sequence[Row], pieces: PieceIndex
    ) -> None:
        self.texts = texts
        self.log_probabilities = log_probabilities
        self.rows = rows
        self.pieces = pieces

    def choices(self, index: int) -> list[Choice]:
        """Return the tokens that give a text, with their posterior probabilities; their sum is 1."""
        text = self.texts[index]
        found = []
        for number, row in enumerate(self.rows):
            for token in self._tokens(row.remainder, text):
                log_mass = row.log_weight + float(row.log_probabilities[token])
                found.append((number, token, log_mass))
        peak = max(log_mass for _, _, log_mass in found)
        masses = [math.exp(log_mass - peak) for _, _, log_mass in found]
        whole = sum(masses)
        return [Choice(row, token, mass / whole) for (row, token, _), mass in zip(found, masses, strict=True)]

    def of_tokens(self, tokens: Sequence[int]) -> list[int]:
        """Return the texts that some of these tokens give, as indices, ascending."""
        found = set()
        for remainder in {row.remainder for row in self.rows}:
            for token in set(tokens):
                piece = self.pieces.pieces[token]
                if not remainder:
                    found.add(int(self.pieces.place[token]))
                elif piece.startswith(remainder) and len(piece) > len(remainder):
                    found.add(self._index[piece[len(remainder) :]])
        return sorted(found)

    @property
    def places(self) -> dict[bytes, list[int]]:
        """Where each text is, as ``repeats.repeating`` takes it."""
        first = len(self.pieces.distinct)
        return self.pieces.places_of | {text: [first + number] for number, text in enumerate(self.texts[first:])}

    @cached_property
    def _index(self) -> dict[bytes, int]:
        first = len(self.pieces.distinct)
        return self.pieces.place_of | {text: first + number for number, text in enumerate(self.texts[first:])}

    def _tokens(self, remainder: bytes, text: bytes) -> list[int]:
        if not text:
            return [] if remainder else [DOCUMENT_END]
        return self.pieces.tokens(remainder + text)
