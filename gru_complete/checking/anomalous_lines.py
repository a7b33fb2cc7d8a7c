"""Lines unlike the others: in a log, where something happened that does not happen all the time.

The model says what each segment (white space and a word) costs, in bits. What is usual depends on the place: a date
that the model does not know costs much in every line of a log, a status nearly nothing. The place of a segment is known
by the segment before it, numbers aside: in ``GET /item/17 200`` the status stands after ``/item/0``. With m and q, the
median and the ninetieth percentile of what the last segments in the same place cost, a segment's *excess* and a line's
*strangeness* are::

    excess = (bits - m) / (q - m + 4) - 1        strangeness = sum of max(0, excess)        found: >= threshold

The 4 bits keep a place where nothing ever changes from making much of a little. Where a place is new, m and q are those
of all segments. Medians and percentiles are hardly moved by odd lines among the last ones (Hampel 1974). What is shown
of a line is the run of segments with the greatest sum of excesses.

The cost of the whole line finds less: one word of twenty hardly moves it (`benchmarks/odd_lines.py`).
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from statistics import median
from typing import NamedTuple

from gru_complete.checking.segment_reader import Segment, SegmentReader
from gru_complete.runtime.completer import Completer

DEFAULT_THRESHOLD = 4.0
_LINES = 500  # the last lines, of which the usual bits per byte are said
_LINES_AHEAD = 100  # that are read before the first are judged
_MAX_COSTS = 200  # of a place, the last ones
_MIN_COSTS = 10  # of a place; one that has fewer is new
_MAX_COSTS_ANYWHERE = 2000
_MAX_PLACES = 2000
_PERCENTILE = 0.9
_MIN_SPREAD = 4.0  # bits
_MAX_SEGMENTS = 4096  # of a line that are kept; a longer one counts as several
_PLACE_BYTES = 64
_NUMBER = re.compile(rb"[0-9]+")


class AnomalousLine(NamedTuple):
    """A line that costs more than lines usually do.

    Attributes:
        line: from 1.
        column: where the odd part of it begins, in characters from 1.
        text: that part.
        strangeness: how far what its segments cost is beyond the usual, in spreads.
        bits_per_byte: of the line.
        usual_bits_per_byte: the median of the lines it was compared with.
    """

    line: int
    column: int
    text: str
    anomaly_score: float
    bits_per_byte: float
    usual_bits_per_byte: float


class _Part(NamedTuple):
    """What one segment has of a line; ``place`` is what its cost is compared by."""

    column: int
    text: str
    num_bytes: int
    bits: float
    place: bytes


class _Line(NamedTuple):
    """A line that was read."""

    number: int
    parts: list[_Part]

    @property
    def bits_per_byte(self) -> float:
        return sum(part.bits for part in self.parts) / sum(part.num_bytes for part in self.parts)


class _Costs:
    """What the last segments somewhere cost."""

    def __init__(self, most: int) -> None:
        self._last: deque[float] = deque(maxlen=most)
        self._new = 0
        self._usual = (0.0, _MIN_SPREAD)

    def __len__(self) -> int:
        return len(self._last)

    def add(self, bits: float) -> None:
        self._last.append(bits)
        self._new += 1

    def usual(self) -> tuple[float, float]:
        """The median and the spread, taken again when a sixteenth is new."""
        if 16 * self._new >= len(self._last):
            ordered = sorted(self._last)
            middle, high = ordered[(len(ordered) - 1) // 2], ordered[int(_PERCENTILE * (len(ordered) - 1))]
            self._usual = (middle, high - middle + _MIN_SPREAD)
            self._new = 0
        return self._usual


class _Usual:
    """What lines usually cost, place by place, as far as was read."""

    def __init__(self) -> None:
        self._places: OrderedDict[bytes, _Costs] = OrderedDict()  # the one that was not seen for longest first
        self._anywhere = _Costs(_MAX_COSTS_ANYWHERE)
        self._bits_per_byte: deque[float] = deque(maxlen=_LINES)

    def add(self, line: _Line) -> None:
        """Count a line among the last ones."""
        self._bits_per_byte.append(line.bits_per_byte)
        for part in line.parts:
            self._anywhere.add(part.bits)
            if part.place not in self._places:
                self._places[part.place] = _Costs(_MAX_COSTS)
            self._places.move_to_end(part.place)
            self._places[part.place].add(part.bits)
        while len(self._places) > _MAX_PLACES:
            self._places.popitem(last=False)

    def bits_per_byte(self) -> float:
        """The median of the last lines."""
        return median(self._bits_per_byte)

    def excesses(self, line: _Line) -> list[float]:
        """How far each segment costs more than usual, in spreads beyond the first."""
        result = []
        for part in line.parts:
            costs = self._places.get(part.place)
            middle, spread = (self._anywhere if costs is None or len(costs) < _MIN_COSTS else costs).usual()
            result.append((part.bits - middle) / spread - 1)
        return result


class AnomalousLineFinder:
    """Finds odd lines with one model.

    Args:
        completer: the model. Its counts learn nothing from the text.
        threshold: the least strangeness of a finding.
    """

    def __init__(self, completer: Completer, *, threshold: float = DEFAULT_THRESHOLD) -> None:
        self._reader = SegmentReader(completer)
        self._threshold = threshold

    def findings(
        self, texts: Iterable[str], progress: Callable[[int], object] | None = None
    ) -> Iterator[AnomalousLine]:
        """Look at every line of a document that is not blank, in constant memory.

        Args:
            texts: the document in pieces, however they are cut.
            progress: is told now and then how many more bytes have been read.

        Yields:
            What was found, in the order of the text.
        """
        usual = _Usual()
        lines = self._lines(texts, progress)
        first = list(islice(lines, _LINES_AHEAD))
        for line in first:
            usual.add(line)
        for line in first:
            yield from self._judged(line, usual)
        for line in lines:
            yield from self._judged(line, usual)
            usual.add(line)

    def _judged(self, line: _Line, usual: _Usual) -> Iterator[AnomalousLine]:
        excesses = usual.excesses(line)
        anomaly_score = sum(excess for excess in excesses if excess > 0)
        if anomaly_score >= self._threshold:
            column, text = _oddest(line.parts, excesses)
            yield AnomalousLine(line.number, column, text, anomaly_score, line.bits_per_byte, usual.bits_per_byte())

    def _lines(self, texts: Iterable[str], progress: Callable[[int], object] | None) -> Iterator[_Line]:
        parts: list[_Part] = []
        number, before = 1, b""
        for batch in self._reader.batches(texts):
            for segment in batch:
                for line, part in _parts(segment, before):
                    if line != number or len(parts) >= _MAX_SEGMENTS:
                        if parts:
                            yield _Line(number, parts)
                        number, parts = line, []
                    parts.append(part)
                before = segment.data
            if progress is not None:
                progress(sum(len(segment.data) for segment in batch))
        if parts:
            yield _Line(number, parts)


def _parts(segment: Segment, before: bytes) -> Iterator[tuple[int, _Part]]:
    """What a segment is of which line: what begins with the last of its newlines belongs to the line after that."""
    text = segment.data.decode(errors="replace")
    shown = text.lstrip()
    if not shown:
        return  # blanks at the text's end
    white = text[: len(text) - len(shown)]
    newlines = white.count("\n")
    column = len(white) - white.rindex("\n") if newlines else segment.column + len(white)
    bits = sum(segment.costs) / math.log(2)
    place = b"" if newlines else _NUMBER.sub(b"0", before.strip()[:_PLACE_BYTES])
    yield segment.line + newlines, _Part(column, shown, len(segment.data), bits, place)


def _oddest(parts: list[_Part], excesses: Sequence[float]) -> tuple[int, str]:
    """The column and the text of the run with the greatest sum of excesses (Kadane's algorithm)."""
    best, best_run = -math.inf, (0, 1)
    total, start = 0.0, 0
    for index, excess in enumerate(excesses):
        if total <= 0:
            total, start = 0.0, index
        total += excess
        if total > best:
            best, best_run = total, (start, index + 1)
    run = parts[slice(*best_run)]
    end = run[0].column
    text = ""
    for part in run:
        text += " " * (part.column - end) + part.text  # white space as blanks: it is to be read
        end = part.column + len(part.text)
    return run[0].column, text
