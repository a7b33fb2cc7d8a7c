"""Lines unlike the others: in a log, where something happened that does not happen all the time.

The model says what each line costs, in bits. Most lines of a log cost about the same per byte; u is the median of the
last lines. The longer a line, the less its mean strays from that, so the *surplus* of a line of n bytes is::

    d = (bits / n - u) sqrt(n)                strangeness = d / s               found: strangeness >= threshold

where s is the median of the absolute values of d for the last lines, times 1.4826: for a normal distribution, its
standard deviation; odd lines among them hardly move it (Hampel 1974). A line that costs less than usual is never
strange. What is shown of a line is its odd part: the run of segments (white space and a word) that costs most beyond
u for its bytes and, for each of them, the median of what a segment costs.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import NamedTuple

from gru_complete.evaluation.segment_reader import Segment, SegmentReader
from gru_complete.runtime.completer import Completer

DEFAULT_THRESHOLD = 8.0
_LINES = 500  # the last lines that a line is compared with
_LINES_AHEAD = 100  # that must have been read before the first are judged
_LEAST_SPREAD = 0.05  # of the usual cost: lines that are all the same are not strange for a single digit
_MOST_SEGMENTS = 4096  # of a line that are kept; a longer one counts as several
_AGAIN = 25  # lines after which the median is taken again


class OddLine(NamedTuple):
    """A line that costs more than lines usually do.

    Attributes:
        line: from 1.
        column: where the odd part of it begins, in characters from 1.
        text: that part.
        strangeness: how far it is from other lines, in their spreads.
        bits_per_byte: of the line.
        usual_bits_per_byte: the median of the lines it was compared with.
    """

    line: int
    column: int
    text: str
    strangeness: float
    bits_per_byte: float
    usual_bits_per_byte: float


class _Part(NamedTuple):
    """What one segment has of a line."""

    column: int
    text: str
    num_bytes: int
    bits: float


class _Line(NamedTuple):
    """A line that was read, with the sums of its parts; of lines to compare with, the sums are kept alone."""

    number: int
    parts: list[_Part]
    num_parts: int
    num_bytes: int
    bits: float

    @classmethod
    def of(cls, number: int, parts: list[_Part]) -> _Line:
        return cls(number, parts, len(parts), sum(part.num_bytes for part in parts), sum(part.bits for part in parts))

    @property
    def bits_per_byte(self) -> float:
        return self.bits / self.num_bytes


class _Usual(NamedTuple):
    """What lines usually cost: bits per byte, bits per segment, and the spread of the surplus."""

    per_byte: float
    per_segment: float
    spread: float


class OddLineFinder:
    """Finds odd lines with one model.

    Args:
        completer: the model. Its counts learn nothing from the text.
        threshold: the least strangeness of a finding.
    """

    def __init__(self, completer: Completer, *, threshold: float = DEFAULT_THRESHOLD) -> None:
        self._reader = SegmentReader(completer)
        self._threshold = threshold

    def findings(self, texts: Iterable[str], progress: Callable[[int], object] | None = None) -> Iterator[OddLine]:
        """Look at every line of a document that is not blank, in constant memory.

        Args:
            texts: the document in pieces, however they are cut.
            progress: is told now and then how many more bytes have been read.

        Yields:
            What was found, in the order of the text.
        """
        last: deque[_Line] = deque(maxlen=_LINES)
        waiting: list[_Line] = []
        usual = _Usual(0.0, 0.0, 1.0)
        judged = 0
        for line in self._lines(texts, progress):
            last.append(line._replace(parts=[]))
            waiting.append(line)
            if len(last) < _LINES_AHEAD:
                continue
            for one in waiting:
                if judged % _AGAIN == 0:
                    usual = _distribution(last)
                judged += 1
                yield from self._judged(one, usual)
            waiting = []
        if waiting:
            usual = _distribution(last)
            for one in waiting:
                yield from self._judged(one, usual)

    def _judged(self, line: _Line, usual: _Usual) -> Iterator[OddLine]:
        strangeness = (line.bits_per_byte - usual.per_byte) * math.sqrt(line.num_bytes) / usual.spread
        if strangeness >= self._threshold:
            column, text = _oddest(line.parts, usual)
            yield OddLine(line.number, column, text, strangeness, line.bits_per_byte, usual.per_byte)

    def _lines(self, texts: Iterable[str], progress: Callable[[int], object] | None) -> Iterator[_Line]:
        parts: list[_Part] = []
        number = 1
        for batch in self._reader.batches(texts):
            for segment in batch:
                for line, part in _parts(segment):
                    if line != number or len(parts) >= _MOST_SEGMENTS:
                        if parts:
                            yield _Line.of(number, parts)
                        number, parts = line, []
                    parts.append(part)
            if progress is not None:
                progress(sum(len(segment.data) for segment in batch))
        if parts:
            yield _Line.of(number, parts)


def _parts(segment: Segment) -> Iterator[tuple[int, _Part]]:
    """What a segment is of which line: what begins with the last of its newlines belongs to the line after that."""
    text = segment.data.decode(errors="replace")
    shown = text.lstrip()
    if not shown:
        return  # blanks at the text's end
    white = text[: len(text) - len(shown)]
    newlines = white.count("\n")
    column = len(white) - white.rindex("\n") if newlines else segment.column + len(white)
    bits = sum(segment.costs) / math.log(2)
    yield segment.line + newlines, _Part(column, shown, len(segment.data), bits)


def _distribution(lines: Iterable[_Line]) -> _Usual:
    lines = list(lines)
    usual = median(line.bits_per_byte for line in lines)
    surpluses = [abs(line.bits_per_byte - usual) * math.sqrt(line.num_bytes) for line in lines]
    least = _LEAST_SPREAD * usual * math.sqrt(median(line.num_bytes for line in lines))
    per_segment = median(line.bits / line.num_parts for line in lines)
    return _Usual(usual, per_segment, max(1.4826 * median(surpluses), least, 1e-6))


def _oddest(parts: list[_Part], usual: _Usual) -> tuple[int, str]:
    """The column and the text of the run that costs most beyond the usual (Kadane's algorithm)."""
    best, best_run = -math.inf, (0, 1)
    total, start = 0.0, 0
    for index, part in enumerate(parts):
        if total <= 0:
            total, start = 0.0, index
        total += part.bits - usual.per_byte * part.num_bytes - usual.per_segment
        if total > best:
            best, best_run = total, (start, index + 1)
    run = parts[slice(*best_run)]
    end = run[0].column
    text = ""
    for part in run:
        text += " " * (part.column - end) + part.text  # white space as blanks: it is to be read
        end = part.column + len(part.text)
    return run[0].column, text
