"""A text segment by segment, with what the model says of every token: read once, in constant memory.

Shapes: N readings, V vocab_size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from gru_complete.arrays import FloatArray
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.predictor import DecoderState
from gru_complete.runtime.sampling import damaged_scores
from gru_complete.text.tokenizer import segments

MANY = 96
"""Rows of a product at most; also how many segments are read at a time."""

_MAX_ENCODED = 50_000  # segments whose tokens are kept


class Segment:
    """A segment that was read.

    Attributes:
        data: its bytes.
        number: how many are before it.
        line, column, offset: of its first character.
        tokens: the canonical ones.
        readings: where each of them begins.
        rows: the log probabilities of all tokens in the place of each, ``(len(tokens), V)``.
        costs: of the tokens, in nats.
    """

    __slots__ = ("column", "costs", "data", "line", "number", "offset", "readings", "rows", "tokens")

    def __init__(self, data: bytes, number: int, line: int, column: int, offset: int, tokens: list[int]) -> None:
        self.data = data
        self.number = number
        self.line = line
        self.column = column
        self.offset = offset
        self.tokens = tokens
        self.readings: list[DecoderState] = []
        self.rows: list[FloatArray] = []
        self.costs: list[float] = []


class SegmentReader:
    """Reads documents with one model.

    Args:
        completer: the model. Its counts learn nothing from the text.
    """

    def __init__(self, completer: Completer) -> None:
        self._predictor = completer.predictor
        self._tokenizer = completer.tokenizer
        self._encoded: dict[bytes, list[int]] = {}

    def batches(self, texts: Iterable[str]) -> Iterator[list[Segment]]:
        """A document's segments, read, up to ``MANY`` at a time.

        Args:
            texts: the document in pieces, however they are cut.
        """
        reading = self._predictor.start()
        waiting = self._segments(texts)
        while batch := list(islice(waiting, MANY)):
            reading = self.read(batch, reading)
            yield batch

    def read(self, batch: Sequence[Segment], reading: DecoderState) -> DecoderState:
        """Read segments that have their tokens only.

        Args:
            batch: what is read, one after the other; the rest of each is filled in.
            reading: where the first one begins.

        Returns:
            Where the last one ends.
        """
        readings = []
        for segment in batch:
            for token in segment.tokens:
                segment.readings.append(reading)
                readings.append(reading)
                reading = self._predictor.step(reading, token)
        rows = [row for start in range(0, len(readings), MANY) for row in self.rows(readings[start : start + MANY])]
        taken = iter(rows)
        for segment in batch:
            segment.rows = [next(taken) for _ in segment.tokens]
            segment.costs = [-float(row[token]) for row, token in zip(segment.rows, segment.tokens, strict=True)]
        return reading

    def _segments(self, texts: Iterable[str]) -> Iterator[Segment]:
        """Segments with their tokens, not read yet."""
        line = column = 1
        offset = 0
        carry = b""
        number = 0
        for block in _and_end(texts):
            found = list(segments(carry if block is None else carry + block.encode()))
            carry = b"" if block is None or not found else found.pop()  # more text may lengthen the last one
            for data in found:
                yield Segment(data, number, line, column, offset, self.encode(data))
                number += 1
                text = data.decode(errors="replace")
                offset += len(text)
                newlines = text.count("\n")
                line += newlines
                column = len(text) - text.rindex("\n") if newlines else column + len(text)

    def rows(self, readings: Sequence[DecoderState]) -> FloatArray:
        """The log probabilities of all tokens after each of some readings, ``(N, V)``.

        Raises:
            ModelError: they are not finite.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # a stranger's weights may overflow
            rows = self._predictor.log_probabilities(readings)
            if not math.isfinite(float(rows.sum(dtype=np.float64))):
                raise damaged_scores()
        return rows

    def encode(self, segment: bytes) -> list[int]:
        """The tokens of a segment, kept for the next time."""
        tokens = self._encoded.get(segment)
        if tokens is None:
            if len(self._encoded) >= _MAX_ENCODED:
                self._encoded.clear()
            tokens = self._encoded[segment] = self._tokenizer.encode_segment(segment)
        return tokens


def _and_end(texts: Iterable[str]) -> Iterator[str | None]:
    """The texts, and then None."""
    yield from texts
    yield None
