"""Reads a text segment by segment with one model, keeping what the model predicts at every token.

A segment is white space and the word after it (``text/tokenizer.py``). The text is read once, in constant memory.

Shapes: N tokens of a text, V vocab_size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from gru_complete.arrays import FloatArray
from gru_complete.checking.typography import VariantReader
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.predictor import DecoderState
from gru_complete.runtime.sampling import damaged_scores
from gru_complete.text.normal_form import texts_in_form
from gru_complete.text.tokenizer import segments

MAX_ROWS = 96
"""The most rows of one matrix product, and the number of segments read at a time."""

_MAX_CACHED_SEGMENTS = 50_000  # whose tokens are kept


class Segment:
    """A segment of the text; ``decoder_states``, ``rows`` and ``costs`` are filled in when it is read.

    Attributes:
        data: its bytes, as the model reads them.
        text: what the text has there: as many characters, of which some may be other typographic variants.
        number: how many segments come before it.
        line, column: of its first character, from 1.
        offset: of its first character in the whole text, in characters from 0.
        tokens: its canonical segmentation, N of them.
        decoder_states: the decoder state before each token.
        rows: the log probabilities of all tokens at each position, ``(N, V)``.
        costs: what each token costs, in nats.
    """

    __slots__ = ("column", "costs", "data", "decoder_states", "line", "number", "offset", "rows", "text", "tokens")

    def __init__(
        self, data: bytes, text: str, number: int, line: int, column: int, offset: int, tokens: list[int]
    ) -> None:
        self.data = data
        self.text = text
        self.number = number
        self.line = line
        self.column = column
        self.offset = offset
        self.tokens = tokens
        self.decoder_states: list[DecoderState] = []
        self.rows: list[FloatArray] = []
        self.costs: list[float] = []


class SegmentReader:
    """Reads documents with one model.

    Args:
        completer: the model. Its n-gram counts learn nothing from the text.
        variants: how typographic variants are read; as they are if omitted.
    """

    def __init__(self, completer: Completer, *, variants: VariantReader | None = None) -> None:
        self._variants = variants
        self._predictor = completer.predictor
        self._tokenizer = completer.tokenizer
        self._normal_form = completer.normal_form
        self._encoded: dict[bytes, list[int]] = {}

    def batches(self, texts: Iterable[str]) -> Iterator[list[Segment]]:
        """Read a document in the model's normal form; yields its segments, up to ``MAX_ROWS`` at a time.

        Args:
            texts: the document in parts, cut anywhere.
        """
        decoder_state = self._predictor.start()
        unread = self._segments(texts_in_form(texts, self._normal_form))
        while batch := list(islice(unread, MAX_ROWS)):
            decoder_state = self.read(batch, decoder_state)
            yield batch

    def read(self, batch: Sequence[Segment], decoder_state: DecoderState) -> DecoderState:
        """Read segments one after another, filling in their states, rows and costs.

        Args:
            batch: segments that have their tokens only.
            decoder_state: the decoder state before the first one.

        Returns:
            The decoder state after the last one.
        """
        decoder_states = []
        for segment in batch:
            for token in segment.tokens:
                segment.decoder_states.append(decoder_state)
                decoder_states.append(decoder_state)
                decoder_state = self._predictor.step(decoder_state, token)
        blocks = [decoder_states[start : start + MAX_ROWS] for start in range(0, len(decoder_states), MAX_ROWS)]
        rows = iter([row for block in blocks for row in self.rows(block)])
        for segment in batch:
            segment.rows = [next(rows) for _ in segment.tokens]
            segment.costs = [-float(row[token]) for row, token in zip(segment.rows, segment.tokens, strict=True)]
        return decoder_state

    def _segments(self, texts: Iterable[str]) -> Iterator[Segment]:
        """The segments of a document with their tokens, not read yet."""
        line = column = 1
        offset = 0
        carry, read, written = b"", "", ""
        number = 0
        for block in _then_none(texts):
            read = self._as_read(block or "", read[-1:])
            carry += read.encode()
            written += block or ""
            complete = list(segments(carry))
            carry = b"" if block is None or not complete else complete.pop()  # more text may lengthen the last one
            start = 0
            for data in complete:
                text = written[start : start + len(data.decode(errors="replace"))]
                start += len(text)
                yield Segment(data, text, number, line, column, offset, self.encode(data))
                number += 1
                offset += len(text)
                newlines = text.count("\n")
                line += newlines
                column = len(text) - text.rindex("\n") if newlines else column + len(text)
            written = written[start:]

    def _as_read(self, text: str, before: str) -> str:
        """A part of a text as the model reads it, given the character before as it was read."""
        return text if self._variants is None else self._variants.read(text, before)

    def rows(self, decoder_states: Sequence[DecoderState]) -> FloatArray:
        """The log probabilities of all tokens after each of N decoder states, ``(N, V)``.

        Raises:
            ModelError: they are not finite.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # the weights of an untrusted model may overflow
            rows = self._predictor.log_probabilities(decoder_states)
            if not math.isfinite(float(rows.sum(dtype=np.float64))):
                raise damaged_scores()
        return rows

    def encode(self, segment: bytes) -> list[int]:
        """The tokens of a segment, from a cache where possible."""
        tokens = self._encoded.get(segment)
        if tokens is None:
            if len(self._encoded) >= _MAX_CACHED_SEGMENTS:
                self._encoded.clear()
            tokens = self._encoded[segment] = self._tokenizer.encode_segment(segment)
        return tokens


def _then_none(texts: Iterable[str]) -> Iterator[str | None]:
    """The texts that are not empty, and then None as a mark of the end."""
    yield from filter(None, texts)
    yield None
