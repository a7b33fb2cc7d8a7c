"""Anomalous lines: in a log, lines that cost the model more than such lines usually do.

The model says what each segment (white space and a word) costs, in bits. What is usual depends on the place: a date
that the model does not know is expensive in every line of a log, a status code nearly free. The place of a segment is
the segment before it, with all numbers made 0: in ``GET /item/17 200`` the place of the status is ``/item/0``. With m
and q, the median and the 90th percentile of what the last segments in the same place cost, the *excess* of a segment
and the *anomaly score* of a line are::

    excess = (bits - m) / (q - m + 4) - 1        anomaly score = sum of max(0, excess)        reported: >= threshold

The 4 bits keep small changes from counting much in a place where nothing ever changes. In a new place, m and q are
those of all segments. Medians and percentiles hardly move when there are anomalous lines among the last ones (Hampel
1974). Of a reported line, the part that is shown is the run of segments with the greatest sum of excesses.

The cost of the whole line finds less: one word of twenty hardly changes it (``benchmarks/anomalous_lines.py``).
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
_NUM_LINES = 500  # the last lines, whose median of bits per byte is the usual one
_LINES_AHEAD = 100  # read before the first line is judged
_MAX_COSTS = 200  # kept for a place: the last ones
_MIN_COSTS = 10  # a place with fewer is new
_MAX_COSTS_ANYWHERE = 2000
_MAX_PLACES = 2000
_PERCENTILE = 0.9
_MIN_SPREAD = 4.0  # bits
_MAX_SEGMENTS = 4096  # of a line; a longer line counts as several
_PLACE_BYTES = 64
_NUMBER = re.compile(rb"[0-9]+")


class AnomalousLine(NamedTuple):
    """A line that costs more than lines usually do.

    Attributes:
        line: from 1.
        column: of the first character of its anomalous part, in characters from 1.
        text: that part.
        anomaly_score: the sum of the excesses of its segments, in spreads; see the module.
        bits_per_byte: the cost of the line.
        usual_bits_per_byte: the median cost of the lines it was compared with.
    """

    line: int
    column: int
    text: str
    anomaly_score: float
    bits_per_byte: float
    usual_bits_per_byte: float


class _Part(NamedTuple):
    """A segment as part of a line; its cost is compared with others of the same ``place``."""

    column: int
    text: str
    num_bytes: int
    bits: float
    place: bytes


class _Line(NamedTuple):
    """A line, as far as it was read."""

    number: int
    parts: list[_Part]

    @property
    def bits_per_byte(self) -> float:
        return sum(part.bits for part in self.parts) / sum(part.num_bytes for part in self.parts)


class _Costs:
    """What the last segments in one place cost, in bits."""

    def __init__(self, max_costs: int) -> None:
        self._last: deque[float] = deque(maxlen=max_costs)
        self._num_new = 0  # since the figures were computed
        self._usual = (0.0, _MIN_SPREAD)

    def __len__(self) -> int:
        return len(self._last)

    def add(self, bits: float) -> None:
        self._last.append(bits)
        self._num_new += 1

    def usual(self) -> tuple[float, float]:
        """The median and the spread, computed again once a sixteenth of the costs is new."""
        if 16 * self._num_new >= len(self._last):
            ordered = sorted(self._last)
            middle, high = ordered[(len(ordered) - 1) // 2], ordered[int(_PERCENTILE * (len(ordered) - 1))]
            self._usual = (middle, high - middle + _MIN_SPREAD)
            self._num_new = 0
        return self._usual


class _Usual:
    """What segments usually cost, place by place, in the lines so far."""

    def __init__(self) -> None:
        self._places: OrderedDict[bytes, _Costs] = OrderedDict()  # least recently seen first
        self._anywhere = _Costs(_MAX_COSTS_ANYWHERE)
        self._bits_per_byte: deque[float] = deque(maxlen=_NUM_LINES)

    def add(self, line: _Line) -> None:
        """Count a line as one of the last ones."""
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
        """The excess of each segment of a line; see the module."""
        result = []
        for part in line.parts:
            costs = self._places.get(part.place)
            middle, spread = (self._anywhere if costs is None or len(costs) < _MIN_COSTS else costs).usual()
            result.append((part.bits - middle) / spread - 1)
        return result


class AnomalousLineFinder:
    """Finds anomalous lines with one model.

    Args:
        completer: the model. Its n-gram counts learn nothing from the text.
        threshold: the least anomaly score of a finding.
    """

    def __init__(self, completer: Completer, *, threshold: float = DEFAULT_THRESHOLD) -> None:
        self._reader = SegmentReader(completer)
        self._threshold = threshold

    def findings(
        self, texts: Iterable[str], progress: Callable[[int], object] | None = None
    ) -> Iterator[AnomalousLine]:
        """Check every line of a document that is not blank, in constant memory.

        Args:
            texts: the document in parts, cut anywhere.
            progress: called now and then with the number of bytes read since the last call.

        Yields:
            The anomalous lines in the order of the text.
        """
        usual = _Usual()
        lines = self._lines(texts, progress)
        first_lines = list(islice(lines, _LINES_AHEAD))
        for line in first_lines:
            usual.add(line)
        for line in first_lines:
            yield from self._judge(line, usual)
        for line in lines:
            yield from self._judge(line, usual)
            usual.add(line)

    def _judge(self, line: _Line, usual: _Usual) -> Iterator[AnomalousLine]:
        """Yield the line as a finding if its score reaches the threshold."""
        excesses = usual.excesses(line)
        anomaly_score = sum(excess for excess in excesses if excess > 0)
        if anomaly_score >= self._threshold:
            column, text = _most_anomalous_run(line.parts, excesses)
            yield AnomalousLine(line.number, column, text, anomaly_score, line.bits_per_byte, usual.bits_per_byte())

    def _lines(self, texts: Iterable[str], progress: Callable[[int], object] | None) -> Iterator[_Line]:
        """The lines of a document, those of more than ``_MAX_SEGMENTS`` segments in several parts."""
        parts: list[_Part] = []
        number = 1
        for line, part in self._parts(texts, progress):
            if line != number or len(parts) >= _MAX_SEGMENTS:
                if parts:
                    yield _Line(number, parts)
                number, parts = line, []
            parts.append(part)
        if parts:
            yield _Line(number, parts)

    def _parts(self, texts: Iterable[str], progress: Callable[[int], object] | None) -> Iterator[tuple[int, _Part]]:
        """The segments of a document that are not blank, each with the number of its line."""
        before = b""
        for batch in self._reader.batches(texts):
            for segment in batch:
                part = _part(segment, before)
                if part is not None:
                    yield part
                before = segment.data
            if progress is not None:
                progress(sum(len(segment.data) for segment in batch))


def _part(segment: Segment, before: bytes) -> tuple[int, _Part] | None:
    """A segment as part of the line in which its word is, with the number of that line.

    Args:
        segment: white space, which may hold newlines, and a word.
        before: the bytes of the segment before it.

    Returns:
        None if the segment is blank, as it may be at the end of the text.
    """
    text = segment.data.decode(errors="replace")
    word = text.lstrip()
    if not word:
        return None
    white = text[: len(text) - len(word)]
    newlines = white.count("\n")
    column = len(white) - white.rindex("\n") if newlines else segment.column + len(white)
    bits = sum(segment.costs) / math.log(2)
    place = b"" if newlines else _NUMBER.sub(b"0", before.strip()[:_PLACE_BYTES])
    return segment.line + newlines, _Part(column, word, len(segment.data), bits, place)


def _most_anomalous_run(parts: list[_Part], excesses: Sequence[float]) -> tuple[int, str]:
    """Column and text of the run of segments with the greatest sum of excesses (Kadane's algorithm)."""
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
        text += " " * (part.column - end) + part.text  # any white space becomes blanks
        end = part.column + len(part.text)
    return run[0].column, text
