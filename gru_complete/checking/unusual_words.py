"""Unusual wording: words in whose place the model would rather have put another, given what comes before and after.

Every word of a text is compared with the words of the model's vocabulary. A word w is found where another one, a, is
likely to have been meant::

    odds = P(before a after) / P(before w after) * slip(w | a)                      found: odds >= threshold

The first factor, the *ratio*, is what the model says of the two texts. Alone it finds every rare word, for a common one
is nearly always likelier. The second is how likely a slip that hits the place of ``a`` leaves ``w`` there
(``slips.py``). So a rare word is found only where it fits worse than it does elsewhere, and "her" in the place of "his"
or "were" in that of "was" sooner than any two words. This is a noisy channel (Kernighan, Church and Gale 1990), with
the channel taken from the model itself; it knows no language.

What comes after is the rest of the word's segment (``text/tokenizer.py``) and the next ``lookahead`` tokens. In a first
pass all is scored in its one canonical segmentation, and an alternative is dropped as soon as it falls behind; what is
left is scored text-exact: the word's own segment, and the byte that ends it, summed over its segmentations.

The context is the text as it stands, words that were found included: it is what its writer says, and where the model
is wrong it would otherwise go on being wrong. But one slip makes others look odd: of "the cats ... was" both. So
findings are taken by falling odds, and one is reported only if it would still be found were those near it corrected
that are reported already (``lookahead`` segments before it and after it).

Which odds are unusual depends on the text: where the next word can nearly be known, as in forms and reports, those of
sound words stay low. So a model says from where on they are (``measure_threshold``), namely what one word in
``WORDS_PER_FINDING`` reaches in text that neither its network nor its counts have seen: the tuning part, as training
ends. Few words say little of what is so rare. But odds are ratios of likelihoods, of a text with a slip and of one
without; where the model is right, a share of 1/x at most has x or more (Markov's inequality). Text for tuning comes
near that bound: ten times what one word in 50 has was had by one in 630 of the sample data, and one in 580 of a novel.
So what one word in ``_WORDS_PER_MEASURED`` reaches is measured, and what is rarer is taken to be as many times greater.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from gru_complete.checking.error_model import WORD, ErrorModel
from gru_complete.checking.segment_reader import MANY, Segment, SegmentReader
from gru_complete.model.directory import LoadedModel
from gru_complete.model.manifest import CHECK_THRESHOLD, Manifest
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.predictor import DecoderState
from gru_complete.runtime.segmentation import Hypotheses

DEFAULT_THRESHOLD = 5.0
"""For models that say none: those of little text, and those that `compare` trains."""

WORDS_PER_FINDING = 250
"""Of ordinary text, a page, with the threshold that a model says."""

_WORDS_PER_MEASURED = 50
_MIN_WORDS = 300  # fewer say too little
_MIN_MEASURED = 0.03  # odds; what is lower takes long to find out
_GREATEST_MEASURED = 1e6

DEFAULT_LOOKAHEAD = 10
"""Tokens after the word. On prose for tuning 4 did nearly as well and 2 worse; 20 did no better on the demo's pairs."""

_HEAD_START = 8.0  # nats: what is further below the threshold before anything after the word is read, is not tried
_PATIENCE = 5.0  # nats: nor is what falls so far below it while that is read. Both cost 2 % of what is found at most
_MAX_TRIALS = 24  # alternatives of a word that are tried
_MAX_EXACT = 3  # and that are looked at text-exact, and reported
_MARGIN = 1.0  # nats that text-exact scores may add to the others
_MAX_NEAR = MANY  # findings that are weighed against each other


class Alternative(NamedTuple):
    """A word that the model would rather have put in the place.

    Attributes:
        word: as it would stand there.
        ratio: how many times likelier the text is with it.
        odds: the same, times how likely a slip is to leave the other word in its place: what is compared with the
            threshold.
    """

    word: str
    ratio: float
    odds: float


class UnusualWord(NamedTuple):
    """A word that is unusual where it stands.

    Attributes:
        line: from 1.
        column: of its first character, counted in characters from 1.
        offset: of its first character, counted in characters from 0, in the whole text.
        word: the word.
        alternatives: at least one, by falling odds.
    """

    line: int
    column: int
    offset: int
    word: str
    alternatives: tuple[Alternative, ...]


class _Trial:
    """An alternative on its way through the text after it.

    Attributes:
        word: the alternative.
        segment: its segment.
        tokens: from where they differ from those that stand there, ``num_own`` in the segment and then those after it.
        position: of the next of them.
        reading: before the last one that was scored.
        log_slip: of what stands there.
        gain: how much likelier it is so far, in nats.
    """

    __slots__ = ("after", "gain", "log_slip", "num_own", "position", "reading", "segment", "tokens", "word")

    def __init__(
        self,
        word: str,
        segment: bytes,
        tokens: list[int],
        num_own: int,
        reading: DecoderState,
        log_slip: float,
        gain: float,
        after: Sequence[float],
    ) -> None:
        self.word = word
        self.segment = segment
        self.tokens = tokens
        self.num_own = num_own
        self.position = 0
        self.reading = reading
        self.log_slip = log_slip
        self.gain = gain
        self.after = after  # what the tokens after the segment cost where they stand

    def take(self, log_probability: float) -> None:
        """Score the next token."""
        self.gain += log_probability
        place = self.position - self.num_own
        if place >= 0:
            self.gain += self.after[place]
        self.position += 1

    @property
    def is_at_end(self) -> bool:
        """Whether all was scored."""
        return self.position == len(self.tokens)

    @property
    def log_odds(self) -> float:
        """As far as it was scored."""
        return self.gain + self.log_slip


class _Found(NamedTuple):
    """A finding, with what it takes to look at it again.

    Attributes:
        finding: as the text stands.
        place: the number of its segment.
        corrected: its segment with the best alternative.
        around: its segment, those before it that may explain it and those after it that decide about it.
    """

    finding: UnusualWord
    place: int
    corrected: bytes
    around: Sequence[Segment]


class _Place(NamedTuple):
    """A word, and what is tried in its place."""

    segment: Segment
    at: int  # where the segment is among those that are waiting
    line: int
    column: int
    offset: int
    word: str
    trials: list[_Trial]


def threshold_from_manifest(manifest: Manifest) -> float:
    """The least odds that are unusual beside the text of a model."""
    threshold = manifest.metrics.get(CHECK_THRESHOLD)  # anyone may write a manifest
    if isinstance(threshold, float) and 1e-6 <= threshold <= 1e12:
        return threshold
    return DEFAULT_THRESHOLD


def measure_threshold(model: LoadedModel, texts: Sequence[str]) -> dict[str, float]:
    """Find the odds that about one word in ``WORDS_PER_FINDING`` reaches.

    Args:
        model: whose counts have not seen the texts either.
        texts: documents of the tuning part, or the beginning of one.

    Returns:
        For the manifest's metrics: what ``threshold_from_manifest`` looks for; nothing if the texts are too short.
    """
    num_words = sum(1 for text in texts for _ in WORD.finditer(text))
    if num_words < _MIN_WORDS:
        return {}
    number = num_words // _WORDS_PER_MEASURED
    checker = WordChecker(Completer.from_model(model), threshold=_MIN_MEASURED)
    greatest = [_MIN_MEASURED] * number
    for text in texts:
        for finding in checker.findings([text]):
            heapq.heappushpop(greatest, finding.alternatives[0].odds)
            checker.threshold = greatest[0]  # what has less is no longer looked for
    threshold = WORDS_PER_FINDING / _WORDS_PER_MEASURED * min(greatest[0], _GREATEST_MEASURED)
    return {CHECK_THRESHOLD: float(f"{threshold:.4g}")}


class WordChecker:
    """Finds unusual wording with one model.

    Args:
        completer: the model. Its counts learn nothing from the text.
        threshold: the least odds of a finding, above 0; it may be changed between two findings.
        lookahead: tokens after a word's segment that decide about it too, at least 0.
    """

    def __init__(
        self, completer: Completer, *, threshold: float = DEFAULT_THRESHOLD, lookahead: int = DEFAULT_LOOKAHEAD
    ) -> None:
        self._predictor = completer.predictor
        self._reader = SegmentReader(completer)
        self._pieces = completer.pieces
        self._slips = ErrorModel(completer)
        self.threshold = threshold
        self._lookahead = lookahead
        self._width = completer.width

    @property
    def _log_threshold(self) -> float:
        return math.log(self.threshold)

    def findings(self, texts: Iterable[str], progress: Callable[[int], object] | None = None) -> Iterator[UnusualWord]:
        """Look at every word of a document, in time that grows with its length and in constant memory.

        Args:
            texts: the document in pieces, however they are cut.
            progress: is told now and then how many more bytes have been looked at.

        Yields:
            What was found, in the order of the text, without what other findings explain.
        """
        near: list[_Found] = []  # each no further from the one before it than corrections reach
        for found in self._all_findings(texts, progress):
            if near and (found.place - near[-1].place > self._lookahead or len(near) >= _MAX_NEAR):
                yield from self._unexplained(near)
                near = []
            near.append(found)
        yield from self._unexplained(near)

    def _unexplained(self, near: Sequence[_Found]) -> list[UnusualWord]:
        """Those that are still found when likelier ones are corrected."""
        taken: dict[int, _Found] = {}
        for found in sorted(near, key=lambda found: -found.finding.alternatives[0].odds):
            if self._still_stands(found, taken):
                taken[found.place] = found
        return [found.finding for _, found in sorted(taken.items())]

    def _still_stands(self, found: _Found, corrected: Mapping[int, _Found]) -> bool:
        """Whether a word is found when those in other places are corrected."""
        changed = [segment.number for segment in found.around if segment.number in corrected]
        if not changed:
            return True
        if found.place in changed:
            return False
        first = min(*changed, found.place)
        segments = [segment for segment in found.around if segment.number >= first]
        others = []
        for segment in segments:
            data = corrected[segment.number].corrected if segment.number in corrected else segment.data
            tokens = self._reader.encode(data)
            others.append(Segment(data, segment.number, segment.line, segment.column, segment.offset, tokens))
        self._reader.read(others, segments[0].readings[0])
        again = self._look_at(others, found.place - first, found.place - first + 1)
        return any(other.finding.offset == found.finding.offset for other in again)

    def _all_findings(self, texts: Iterable[str], progress: Callable[[int], object] | None) -> Iterator[_Found]:
        """What is found in the text as it stands."""
        waiting: list[Segment] = []
        start = 0  # before it are those that were looked at
        for batch in self._reader.batches(texts):
            waiting += batch
            ready = len(waiting) - self._lookahead - 1
            if ready - start >= MANY // 2:
                yield from self._look_at(waiting, start, ready)
                for segment in waiting[start:ready]:
                    segment.rows = []  # the most of it, and findings may keep it for long
                if progress is not None:
                    progress(sum(len(segment.data) for segment in waiting[start:ready]))
                start = min(ready, self._lookahead)
                del waiting[: ready - start]
        yield from self._look_at(waiting, start, len(waiting))

    def _look_at(self, waiting: Sequence[Segment], start: int, stop: int) -> Iterator[_Found]:
        """Look at the words of some segments among others."""
        places = [place for index in range(start, stop) for place in self._places(waiting, index)]
        trials = [trial for place in places for trial in place.trials]
        self._run(trials)
        for place in places:
            alternatives = self._alternatives(place, waiting)
            if alternatives:
                best = alternatives[0][1]
                found = tuple(alternative for alternative, _ in alternatives)
                finding = UnusualWord(place.line, place.column, place.offset, place.word, found)
                before = max(0, place.at - self._lookahead)
                around = waiting[before : place.at + self._lookahead + 2]
                yield _Found(finding, place.segment.number, best, around)

    def _places(self, waiting: Sequence[Segment], index: int) -> Iterator[_Place]:
        """The words of a segment that others might replace."""
        segment = waiting[index]
        text = segment.data.decode(errors="replace")
        following = waiting[index + 1].data if index + 1 < len(waiting) else b""
        for match in WORD.finditer(text):
            if match.start() == 0 and segment.number and not text[0].isspace():
                continue  # maybe the rest of a word that was cut
            if match.end() == len(text) and following and not following[:1].isspace():
                continue
            before = text[: match.start()]
            newlines = before.count("\n")
            column = len(before) - before.rindex("\n") if newlines else segment.column + len(before)
            trials = self._trials(waiting, index, match[0], before.encode(), text[match.end() :].encode())
            if trials:
                line, offset = segment.line + newlines, segment.offset + len(before)
                yield _Place(segment, index, line, column, offset, match[0], trials)

    def _trials(self, waiting: Sequence[Segment], index: int, word: str, before: bytes, behind: bytes) -> list[_Trial]:
        """The alternatives that may turn out to be likelier.

        Args:
            waiting: the segments.
            index: that of the word.
            word: the word.
            before: what the segment has before it.
            behind: and behind it.
        """
        segment = waiting[index]
        tokens, pieces = segment.tokens, self._pieces.pieces
        ends = [0, *accumulate(len(pieces[token]) for token in tokens)]
        first = bisect_right(ends, len(before)) - 1  # the token with which the word, or what is just before it, begins
        last = bisect_left(ends, len(before) + len(word.encode()))  # before this one the word has ended
        if first >= last:
            return []
        words = self._slips.words_after(before[ends[first] :])
        if not words.words:
            return []
        log_slips = self._slips.log_probabilities(word, tokens[first:last], words)
        promise = segment.rows[first][words.tokens] + log_slips + sum(segment.costs[first:last])
        floor = self._log_threshold - _HEAD_START
        likely = np.flatnonzero(promise >= floor)
        likely = likely[np.argsort(-promise[likely], kind="stable")[:_MAX_TRIALS]]
        if not len(likely):
            return []
        following = waiting[index + 1 : index + 1 + self._lookahead]
        later = [token for other in following for token in other.tokens][: self._lookahead]
        after = [cost for other in following for cost in other.costs][: self._lookahead]
        trials = []
        for choice in likely.tolist():
            alternative = words.words[choice]
            if alternative.casefold() == word.casefold():
                continue
            data = before + alternative.encode() + behind
            own = self._reader.encode(data)
            same = _common(own, tokens)
            if same == len(own) or same == len(tokens):
                continue  # the one begins the other: there is no place where they differ
            trial = _Trial(
                alternative,
                data,
                own[same:] + later,
                len(own) - same,
                segment.readings[same],
                float(log_slips[choice]),
                sum(segment.costs[same:]),
                after,
            )
            trial.take(float(segment.rows[same][own[same]]))
            trials.append(trial)
        return trials

    def _run(self, trials: Sequence[_Trial]) -> None:
        """Score alternatives with what comes after, side by side, until each is at its end or too far behind."""
        floor = self._log_threshold - _PATIENCE
        running = list(trials)
        while running:
            running = [trial for trial in running if trial.log_odds >= floor and not trial.is_at_end]
            for start in range(0, len(running), MANY):
                part = running[start : start + MANY]
                tokens = [trial.tokens[trial.position - 1] for trial in part]
                readings = self._predictor.step_many([trial.reading for trial in part], tokens)
                for trial, reading, row in zip(part, readings, self._reader.rows(readings), strict=True):
                    trial.reading = reading
                    trial.take(float(row[trial.tokens[trial.position]]))

    def _alternatives(self, place: _Place, waiting: Sequence[Segment]) -> list[tuple[Alternative, bytes]]:
        """Those of a place that reach the threshold, scored text-exact, by falling odds, and the segment with each."""
        floor = self._log_threshold - _MARGIN
        trials = [trial for trial in place.trials if trial.is_at_end and trial.log_odds >= floor]
        trials = sorted(trials, key=lambda trial: -trial.log_odds)[:_MAX_EXACT]
        if not trials:
            return []
        segment = place.segment
        following = waiting[place.at + 1].data[:1] if place.at + 1 < len(waiting) else b""
        behind = self._excess(segment, segment.data, segment.tokens, following)
        found = []
        for trial in trials:
            gain = (
                trial.gain
                + self._excess(segment, trial.segment, self._reader.encode(trial.segment), following)
                - behind
            )
            log_odds = gain + trial.log_slip
            if log_odds >= self._log_threshold:
                alternative = Alternative(trial.word, math.exp(min(gain, 700)), math.exp(min(log_odds, 700)))
                found.append((alternative, trial.segment))
        return sorted(found, key=lambda one: -one[0].odds)

    def _excess(self, segment: Segment, data: bytes, tokens: Sequence[int], following: bytes) -> float:
        """What the other segmentations of a segment add to the log probability of its canonical one.

        Args:
            segment: where it begins.
            data: its bytes.
            tokens: its canonical segmentation.
            following: the byte that ends it; none at the end of the text.
        """
        start = data[:1] if segment.number else b""
        opened = Hypotheses.open(self._predictor, self._pieces, segment.readings[0], start, None, width=self._width)
        exact = opened.extended(data[len(start) :] + following)[1] + opened.total
        reading, canonical = segment.readings[0], 0.0
        for token in tokens:
            canonical += float(self._reader.rows([reading])[0, token])
            reading = self._predictor.step(reading, token)
        if following:
            first, _, stop = self._pieces.range(following)
            row = self._reader.rows([reading])[0]
            canonical += math.log(float(np.exp(row[self._pieces.order[first:stop]].astype(np.float64)).sum()))
        return exact - canonical


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    number = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        number += 1
    return number
